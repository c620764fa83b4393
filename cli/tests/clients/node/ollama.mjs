// The npm package `ollama` against the server.

import assert from "node:assert/strict";
import { Ollama } from "ollama";
import { Checks, ENDLESS, URL, VERDICT, firstModel, freesItsSlot, isVerdict, length, toolPrompt } from "./checks.mjs";

const client = new Ollama({ host: URL });
const checks = new Checks("npm-ollama");
const messages = [{ role: "user", content: "What is turbo3?" }];
const options = { temperature: 0 };
const model = await firstModel();
const bare = (name) => name.replace(/:latest$/, "");

await checks.run("list_models", async () => {
  const { models } = await client.list();
  assert.equal(bare(models[0].model), bare(model));
  assert(models[0].size > 0);
});

await checks.run("show", async () => {
  const shown = await client.show({ model });
  const architecture = shown.model_info["general.architecture"];
  assert(shown.model_info[`${architecture}.context_length`] > 0);
});

await checks.run("chat", async () => {
  const answer = await client.chat({ model, messages, options });
  assert.match(answer.message.content, /3-bit/);
  assert.equal(answer.done_reason, "stop");
  assert(answer.eval_count > 0);
});

await checks.run("chat_stream", async () => {
  const whole = await client.chat({ model, messages, options });
  let text = "";
  for await (const part of await client.chat({ model, messages, options, stream: true })) {
    text += part.message.content;
  }
  assert.equal(text, whole.message.content);
});

await checks.run("generate", async () => {
  const prompt = "What is turbo3?";
  const whole = await client.generate({ model, prompt, options });
  let text = "";
  for await (const part of await client.generate({ model, prompt, options, stream: true })) {
    text += part.response;
  }
  assert(whole.response.length > 0);
  assert.equal(text, whole.response);
});

await checks.run("tools", async () => {
  const prompt = toolPrompt();
  const answer = await client.chat({ model, messages: prompt.messages, tools: prompt.tools, options });
  const call = answer.message.tool_calls[0].function;
  assert.deepEqual([call.name, call.arguments], prompt.call);
});

await checks.run("tools_stream", async () => {
  const prompt = toolPrompt();
  const calls = [];
  const request = { model, messages: prompt.messages, tools: prompt.tools, options, stream: true };
  for await (const part of await client.chat(request)) {
    for (const call of part.message.tool_calls ?? []) calls.push([call.function.name, call.function.arguments]);
  }
  assert.deepEqual(calls, [prompt.call]);
});

await checks.run("schema", async () => {
  isVerdict((await client.chat({ model, messages, format: VERDICT })).message.content);
});

await checks.run("embed", async () => {
  const { embeddings } = await client.embed({ model, input: ["a cat", "a dog"] });
  assert.equal(embeddings.length, 2);
  embeddings.forEach((vector) => assert(Math.abs(length(vector) - 1) < 1e-3));
  const { embedding } = await client.embeddings({ model, prompt: "a cat" });
  assert.equal(embedding.length, embeddings[0].length);
});

await checks.run("load_and_version", async () => {
  const answer = await client.generate({ model, prompt: "" });
  assert.deepEqual([answer.response, answer.done_reason], ["", "load"]);
  assert.match((await client.version()).version, /^\d+\.\d+\.\d+$/);
});

await checks.run("running", async () => {
  const { models } = await client.ps();
  assert.equal(bare(models[0].model), bare(model));
});

await checks.run("unknown_model", async () => {
  const error = await client.chat({ model: "no-such-model", messages }).catch((error) => error);
  assert.equal(error.status_code, 404);
  assert.equal(error.error, "model 'no-such-model' not found");
});

await checks.run("bad_request", async () => {
  const error = await client.chat({ model, messages, options: { temperature: 1e9 } }).catch((error) => error);
  assert.equal(error.status_code, 400);
});

await checks.run("cancel", async () => {
  const parts = await client.generate({ model, prompt: "hello", stream: true, format: ENDLESS });
  await parts[Symbol.asyncIterator]().next();
  await freesItsSlot(() => parts.abort());
});

checks.end();
