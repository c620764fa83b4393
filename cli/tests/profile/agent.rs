//! What an agent gets from a server that was started with its profile.

use super::{support, written, yaml};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// A running program.
struct Server {
    child: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Started with the profile; on any free port, because the profile's may be taken.
    fn start(profile: &std::path::Path) -> Self {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("turboquant"));
        for name in support::foreign_variables() {
            command.env_remove(name);
        }
        let mut child = command
            .env("TURBOQUANT_CONFIG", "")
            .args(["serve", "--threads", "1", "--port", "0", "--profile"])
            .arg(profile)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { child, url }
    }

    fn get(&self, path: &str) -> Value {
        let text = ureq::get(format!("{}{path}", self.url))
            .call()
            .unwrap()
            .body_mut()
            .read_to_string();
        serde_json::from_str(&text.unwrap()).unwrap()
    }

    fn chat(&self, path: &str, body: &Value) -> Value {
        let response = ureq::post(format!("{}{path}", self.url))
            .content_type("application/json")
            .send(body.to_string());
        let text = response.unwrap().body_mut().read_to_string().unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

fn tool(name: &str, description: &str, parameter: &str) -> Value {
    json!({"type": "function", "function": {
    "name": name, "description": description,
    "parameters": {
        "type": "object",
        "properties": {parameter: {"type": "string", "description": "What to work on."}},
        "required": [parameter],
    }}})
}

fn is_identifier(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// Plain content, or a call that the agent can carry out; tells which.
#[track_caller]
fn answer(reply: &Value, tools: &[Value]) -> bool {
    let message = &reply["choices"][0]["message"];
    let Some(calls) = message["tool_calls"].as_array() else {
        assert!(message["content"].is_string(), "{reply:#}");
        return false;
    };
    for call in calls {
        assert_eq!(call["type"], "function");
        let name = call["function"]["name"].as_str().unwrap();
        assert!(is_identifier(name), "{name}");
        let known = tools.iter().find(|tool| tool["function"]["name"] == name);
        let known = known.unwrap_or_else(|| panic!("`{name}` is no tool"));
        let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
        for key in known["function"]["parameters"]["required"].as_array().unwrap() {
            assert!(
                arguments.get(key.as_str().unwrap()).is_some(),
                "{key} is not in {arguments}"
            );
        }
    }
    !calls.is_empty()
}

#[test]
fn an_agent_gets_models_tool_calls_and_content() {
    let (_dir, path) = written(&["hermes", "-c", "8192"]);
    let profile = yaml(&path);
    let api_path = profile["providers"]["primary"]["api_path"].as_str().unwrap();
    let server = Server::start(&path);

    let models = server.get("/v1/models");
    assert_eq!(models["data"][0]["id"], profile["providers"]["primary"]["model"]);

    let calculator = tool("calculator", "Compute a mathematical expression.", "expression");
    let several = vec![
        calculator.clone(),
        tool("read_file", "Read a file.", "path"),
        tool("web_search", "Search the web.", "query"),
    ];
    let mut called = 0;
    for (text, tools) in [
        ("Use the calculator: 554 - 603", vec![calculator]),
        ("Use the calculator: 12 + 30", several.clone()),
        ("What is turbo4?", several),
    ] {
        let message = json!([{"role": "user", "content": text}]);
        let request = json!({"messages": message, "tools": tools, "temperature": 0, "max_tokens": 200});
        called += usize::from(answer(&server.chat(api_path, &request), &tools));
    }
    assert!(called >= 1, "the embedded model calls its calculator");

    // the cache is the profile's
    let kv = &server.get("/props")["kv"];
    let kv_type = profile["providers"]["primary"]["turboquant"]["kv_type"]
        .as_str()
        .unwrap();
    assert!(kv.to_string().contains(kv_type), "{kv:#}");
    assert_eq!(models["data"][0]["meta"]["n_ctx"], profile["context"]["max_tokens"]);
}

#[test]
fn the_schemas_of_tools_survive_json() {
    let schema = tool("look_up", "Look something up.", "what");
    assert!(is_identifier(schema["function"]["name"].as_str().unwrap()));
    let (_dir, path) = written(&["hermes", "-c", "8192"]);
    let server = Server::start(&path);
    let request = json!({"messages": [{"role": "user", "content": "hi"}], "tools": [schema]});
    let shown = server.chat("/apply-template", &request);
    let prompt = shown["prompt"].as_str().unwrap();
    // the template shows the tool to the model as JSON
    let start = prompt
        .find("{\"type\"")
        .or_else(|| prompt.find("{\"name\""))
        .expect(prompt);
    let mut read = serde_json::Deserializer::from_str(&prompt[start..]).into_iter::<Value>();
    let seen = read.next().unwrap().unwrap();
    assert!(seen == schema || seen == schema["function"], "{seen:#}");
}
