// The npm package `openai` against the server.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { Checks, URL, VERDICT, freesItsSlot, isVerdict, length, tooLong, toolPrompt } from "./checks.mjs";

const client = new OpenAI({ baseURL: `${URL}/v1`, apiKey: "none", maxRetries: 0, timeout: 120_000 });
const checks = new Checks("npm-openai");
const messages = [{ role: "user", content: "What is turbo3?" }];
const model = (await client.models.list()).data[0].id;
const ask = (extra) => client.chat.completions.create({ model, messages, temperature: 0, ...extra });

await checks.run("list_and_retrieve_models", async () => {
  assert.equal((await client.models.retrieve(model)).id, model);
});

await checks.run("chat", async () => {
  const answer = await ask({});
  assert.match(answer.choices[0].message.content, /3-bit/);
  assert.equal(answer.choices[0].finish_reason, "stop");
});

await checks.run("chat_stream", async () => {
  const whole = await ask({});
  let text = "";
  let usage;
  for await (const chunk of await ask({ stream: true, stream_options: { include_usage: true } })) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(usage.completion_tokens, whole.usage.completion_tokens);
});

await checks.run("completion", async () => {
  const answer = await client.completions.create({ model, prompt: "turbo3 is", max_tokens: 4 });
  assert.equal(answer.choices[0].finish_reason, "length");
});

await checks.run("completion_stream", async () => {
  const seen = new Set();
  const request = { model, prompt: ["turbo3 is", "turbo4 is"], max_tokens: 4, stream: true };
  for await (const chunk of await client.completions.create(request)) {
    for (const choice of chunk.choices) seen.add(choice.index);
  }
  assert.deepEqual([...seen].sort(), [0, 1]);
});

await checks.run("tools", async () => {
  const prompt = toolPrompt();
  const answer = await ask({ messages: prompt.messages, tools: prompt.tools });
  const { name, arguments: args } = answer.choices[0].message.tool_calls[0].function;
  assert.deepEqual([name, JSON.parse(args)], prompt.call);
  assert.equal(answer.choices[0].finish_reason, "tool_calls");
});

await checks.run("tools_stream", async () => {
  const prompt = toolPrompt();
  let [name, args] = ["", ""];
  for await (const chunk of await ask({ messages: prompt.messages, tools: prompt.tools, stream: true })) {
    for (const delta of chunk.choices[0]?.delta?.tool_calls ?? []) {
      name += delta.function.name ?? "";
      args += delta.function.arguments ?? "";
    }
  }
  assert.deepEqual([name, JSON.parse(args)], prompt.call);
});

await checks.run("tool_result", async () => {
  const { messages: before, tools, call } = toolPrompt();
  const made = { id: "call_1", type: "function", function: { name: call[0], arguments: JSON.stringify(call[1]) } };
  const after = [
    { role: "assistant", content: null, tool_calls: [made] },
    { role: "tool", tool_call_id: "call_1", content: "-49" },
  ];
  const answer = await ask({ messages: [...before, ...after], tools, max_tokens: 20 });
  assert(answer.choices[0].message.content);
});

await checks.run("json_schema", async () => {
  const response_format = { type: "json_schema", json_schema: { name: "verdict", schema: VERDICT, strict: true } };
  isVerdict((await ask({ response_format })).choices[0].message.content);
});

await checks.run("embeddings", async () => {
  const input = ["a cat", "a dog"];
  // without a format the package asks for base64 and decodes it
  const packed = await client.embeddings.create({ model, input });
  const plain = await client.embeddings.create({ model, input, encoding_format: "float" });
  packed.data.forEach(({ embedding, index }, i) => {
    assert.equal(index, i);
    assert.equal(embedding.length, plain.data[i].embedding.length);
    assert(embedding.every((x, j) => Math.abs(x - plain.data[i].embedding[j]) < 1e-6));
    assert(Math.abs(length(embedding) - 1) < 1e-3);
  });
});

await checks.run("unknown_model", async () => {
  const error = await client.models.retrieve("no/such-model").catch((error) => error);
  assert(error instanceof OpenAI.NotFoundError, `${error}`);
  assert.equal(error.code, "model_not_found");
  const chat = await ask({ model: "gpt-0", stream: true }).catch((error) => error);
  assert(chat instanceof OpenAI.NotFoundError, `${chat}`);
});

await checks.run("bad_request", async () => {
  const error = await ask({ temperature: 1e9 }).catch((error) => error);
  assert(error instanceof OpenAI.BadRequestError, `${error}`);
  assert.equal(error.param, "temperature");
});

await checks.run("context_overflow", async () => {
  const long = [{ role: "user", content: await tooLong() }];
  const error = await ask({ messages: long, stream: true }).catch((error) => error);
  assert(error instanceof OpenAI.BadRequestError, `${error}`);
  assert.deepEqual([error.code, error.type], ["context_length_exceeded", "exceed_context_size_error"]);
});

await checks.run("cancel", async () => {
  const stream = await ask({ stream: true, max_tokens: 100_000, ignore_eos: true });
  await stream[Symbol.asyncIterator]().next();
  await freesItsSlot(() => stream.controller.abort());
});

const respond = (extra) => client.responses.create({ model, input: "What is turbo3?", temperature: 0, ...extra });

await checks.run("responses", async () => {
  const answer = await respond({});
  assert.match(answer.output_text, /3-bit/);
  assert.equal(answer.status, "completed");
});

await checks.run("responses_stream", async () => {
  const whole = await respond({});
  let text = "";
  let last;
  for await (const event of await respond({ stream: true })) {
    if (event.type === "response.output_text.delta") text += event.delta;
    last = event;
  }
  assert.equal(text, whole.output_text);
  assert.equal(last.type, "response.completed");
});

await checks.run("responses_tools", async () => {
  const prompt = toolPrompt();
  const tools = prompt.tools.map((tool) => ({ type: "function", strict: false, ...tool.function }));
  const { output } = await respond({ input: prompt.messages, tools });
  assert.deepEqual([output.at(-1).name, JSON.parse(output.at(-1).arguments)], prompt.call);
});

checks.end();
