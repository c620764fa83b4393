//! One operation of the document.

use serde_json::{Value, json};

/// A method on a path, and on other paths that mean the same.
#[derive(Clone, Debug)]
pub struct Operation {
    method: &'static str,
    paths: Vec<&'static str>,
    tag: &'static str,
    summary: &'static str,
    query: Vec<(&'static str, &'static str)>,
    body: Option<&'static str>,
    answer: Answer,
    stream: Option<&'static str>,
    open: bool,
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Json(&'static str),
    Text(&'static str),
    Refused,
    Nothing,
}

impl Operation {
    /// `GET path`.
    pub fn get(path: &'static str, tag: &'static str, summary: &'static str) -> Self {
        Self::new("get", path, tag, summary)
    }

    /// `POST path`, whose body is the schema of that name.
    pub fn post(path: &'static str, tag: &'static str, summary: &'static str, body: &'static str) -> Self {
        Self {
            body: Some(body),
            ..Self::new("post", path, tag, summary)
        }
    }

    /// `DELETE path`, whose body is the schema of that name.
    pub fn delete(path: &'static str, tag: &'static str, summary: &'static str, body: &'static str) -> Self {
        Self {
            body: Some(body),
            ..Self::new("delete", path, tag, summary)
        }
    }

    /// Any method on `path`, by its name in small letters.
    pub fn new(method: &'static str, path: &'static str, tag: &'static str, summary: &'static str) -> Self {
        Self {
            method,
            paths: vec![path],
            tag,
            summary,
            query: Vec::new(),
            body: None,
            answer: Answer::Nothing,
            stream: None,
            open: false,
        }
    }

    /// The same on another path.
    pub fn also(mut self, path: &'static str) -> Self {
        self.paths.push(path);
        self
    }

    /// Takes a parameter in the query.
    pub fn query(mut self, name: &'static str, description: &'static str) -> Self {
        self.query.push((name, description));
        self
    }

    /// Answers with the schema of that name.
    pub fn json(mut self, schema: &'static str) -> Self {
        self.answer = Answer::Json(schema);
        self
    }

    /// Answers with text of that type.
    pub fn text(mut self, content_type: &'static str) -> Self {
        self.answer = Answer::Text(content_type);
        self
    }

    /// Always answers 501.
    pub fn refused(mut self) -> Self {
        self.answer = Answer::Refused;
        self
    }

    /// Can also answer piece by piece, as that content type.
    pub fn stream(mut self, content_type: &'static str) -> Self {
        self.stream = Some(content_type);
        self
    }

    /// Needs no key.
    pub fn open(mut self) -> Self {
        self.open = true;
        self
    }

    pub(super) fn method(&self) -> &'static str {
        self.method
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &'static str> {
        self.paths.clone().into_iter()
    }

    /// The operation object for one of its paths.
    pub(super) fn describe(&self, path: &str) -> Value {
        let mut object = json!({
            "operationId": operation_id(self.method, path),
            "tags": [self.tag],
            "summary": self.summary,
        });
        let parameters = self.parameters(path);
        if !parameters.is_empty() {
            object["parameters"] = json!(parameters);
        }
        if let Some(body) = self.body {
            object["requestBody"] = json!({
                "required": true,
                "content": { "application/json": { "schema": reference(body) } },
            });
        }
        object["responses"] = self.responses();
        if self.open {
            object["security"] = json!([]);
        }
        object
    }

    fn parameters(&self, path: &str) -> Vec<Value> {
        let in_path = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let in_path =
            in_path.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
        let in_query = self.query.iter().map(|(name, description)| {
            json!({ "name": name, "in": "query", "description": description, "schema": { "type": "string" } })
        });
        in_path.chain(in_query).collect()
    }

    fn responses(&self) -> Value {
        let error = json!({
            "description": "What is wrong, and what to do.",
            "content": { "application/json": { "schema": reference(self.error_schema()) } },
        });
        if let Answer::Refused = self.answer {
            return json!({ "501": error });
        }
        let mut content = match self.answer {
            Answer::Json(schema) => json!({ "application/json": { "schema": reference(schema) } }),
            Answer::Text(kind) => json!({ kind: { "schema": { "type": "string" } } }),
            Answer::Refused | Answer::Nothing => json!({}),
        };
        if let Some(kind) = self.stream {
            content[kind] = json!({ "schema": { "type": "string" } });
        }
        let mut good = json!({ "description": "The answer." });
        if content.as_object().is_some_and(|content| !content.is_empty()) {
            good["content"] = content;
        }
        json!({ "200": good, "4XX": error, "5XX": error })
    }

    /// Ollama's and Anthropic's clients read errors of their own shape.
    fn error_schema(&self) -> &'static str {
        match self.tag {
            "Ollama" => "OllamaError",
            "Anthropic" => "AnthropicError",
            _ => "Error",
        }
    }
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

/// `post_v1_chat_completions`: paths are unique, and so are these.
fn operation_id(method: &str, path: &str) -> String {
    let words = path
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}
