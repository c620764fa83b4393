//! Models made from other models: what `POST /api/create` can say.

use super::{Digest, Error, Manifest, modelfile};
use serde_json::{Map, Value};

/// Options that a model can carry, by Ollama's names, and what their values are.
const PARAMETERS: &[(&str, Kind)] = &[
    ("draft_num_predict", Kind::Int),
    ("frequency_penalty", Kind::Float),
    ("kv_cache_type", Kind::Text),
    ("main_gpu", Kind::Int),
    ("min_p", Kind::Float),
    ("num_batch", Kind::Int),
    ("num_ctx", Kind::Int),
    ("num_gpu", Kind::Int),
    ("num_keep", Kind::Int),
    ("num_predict", Kind::Int),
    ("num_thread", Kind::Int),
    ("presence_penalty", Kind::Float),
    ("repeat_last_n", Kind::Int),
    ("repeat_penalty", Kind::Float),
    ("seed", Kind::Int),
    ("stop", Kind::Texts),
    ("temperature", Kind::Float),
    ("top_k", Kind::Int),
    ("top_p", Kind::Float),
    ("typical_p", Kind::Float),
    ("use_mmap", Kind::Bool),
];

#[derive(Clone, Copy)]
enum Kind {
    Int,
    Float,
    Bool,
    Text,
    Texts,
}

/// What a model is made from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Base<'a> {
    /// A model by its name.
    Model(&'a str),
    /// An uploaded file.
    Blob(&'a Digest),
}

/// How a model differs from the one it is made from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Creation {
    pub(super) from: Option<String>,
    pub(super) blob: Option<Digest>,
    pub(super) system: Option<String>,
    pub(super) template: Option<String>,
    pub(super) parameters: Map<String, Value>,
    pub(super) license: Vec<String>,
}

impl Creation {
    /// Reads Ollama's fields: `from` or `files`, `system`, `template`, `parameters`, `license`, or a `modelfile`, whose lines
    /// the fields go before.
    ///
    /// # Errors
    /// Fields of a wrong type; those that need what this program does not do.
    pub fn from_json(fields: &Map<String, Value>) -> Result<Self, Error> {
        for (field, what) in [
            ("adapters", "adapters"),
            ("messages", "example messages"),
            ("quantize", "quantizing a model"),
            ("quantization", "quantizing a model"),
            ("path", "reading a Modelfile from the server's disk"),
        ] {
            let given = match fields.get(field) {
                None | Some(Value::Null) => false,
                Some(Value::Array(list)) => !list.is_empty(),
                Some(Value::Object(map)) => !map.is_empty(),
                Some(Value::String(text)) => !text.is_empty(),
                Some(_) => true,
            };
            if given {
                return Err(Error::NotSupported(format!(
                    "create: '{field}': {what} is not supported"
                )));
            }
        }
        let mut creation = match text(fields, "modelfile")? {
            Some(modelfile) => modelfile::parse(modelfile)?,
            None => Self::default(),
        };
        if let Some(from) = text(fields, "from")? {
            creation.from = Some(from.to_owned());
        }
        if let Some(files) = present(fields, "files") {
            creation.blob = Some(only_file(files)?);
        }
        if let Some(system) = text(fields, "system")? {
            creation.system = Some(system.to_owned());
        }
        if let Some(template) = text(fields, "template")? {
            creation.set_template(template)?;
        }
        match present(fields, "parameters") {
            None => {}
            Some(Value::Object(parameters)) => {
                for (name, value) in parameters.iter().filter(|(_, value)| !value.is_null()) {
                    let value = parameter(name, value)?;
                    creation.parameters.insert(name.clone(), value);
                }
            }
            Some(_) => return Err(Error::Invalid("'parameters' must be an object".into())),
        }
        match present(fields, "license") {
            None => {}
            Some(Value::String(license)) => creation.license = vec![license.clone()],
            Some(Value::Array(list)) => {
                let texts = list.iter().map(|text| text.as_str().map(str::to_owned)).collect();
                creation.license = Option::ok_or(texts, license_error())?;
            }
            Some(_) => return Err(license_error()),
        }
        creation.base()?;
        Ok(creation)
    }

    /// What to start from.
    ///
    /// # Errors
    /// Nothing is named, or two things.
    pub fn base(&self) -> Result<Base<'_>, Error> {
        match (&self.from, &self.blob) {
            (Some(from), None) => Ok(Base::Model(from)),
            (None, Some(digest)) => Ok(Base::Blob(digest)),
            (Some(_), Some(_)) => Err(Error::Invalid("create takes 'from' or 'files', not both".into())),
            (None, None) => Err(Error::Invalid(
                "create needs a model to start from: 'from' (a model's name) or 'files' (an uploaded GGUF file)".into(),
            )),
        }
    }

    /// Options for requests that leave them open, by Ollama's names.
    pub fn parameters(&self) -> &Map<String, Value> {
        &self.parameters
    }

    /// A system prompt for chats that bring none.
    pub fn system(&self) -> Option<&str> {
        self.system.as_deref()
    }

    /// A chat template instead of the file's.
    pub fn template(&self) -> Option<&str> {
        self.template.as_deref()
    }

    pub(super) fn apply(&self, manifest: &mut Manifest) {
        // an empty text takes away what the model it was made from has
        let differs = |new: &Option<String>, old: &mut Option<String>| match new.as_deref() {
            None => {}
            Some("") => *old = None,
            Some(text) => *old = Some(text.to_owned()),
        };
        differs(&self.system, &mut manifest.system);
        differs(&self.template, &mut manifest.template);
        manifest.parameters.extend(self.parameters.clone());
        if !self.license.is_empty() {
            manifest.license.clone_from(&self.license);
        }
    }

    pub(super) fn set_template(&mut self, template: &str) -> Result<(), Error> {
        if is_go_template(template) {
            return Err(Error::Invalid(
                "this template is written for Go, and only Jinja templates (as in GGUF files and on model hubs) are \
                 supported; leave the template out to use the model file's own"
                    .into(),
            ));
        }
        self.template = Some(template.to_owned());
        Ok(())
    }

    /// One `PARAMETER` line. Several `stop` lines add up.
    pub(super) fn add_parameter(&mut self, name: &str, text: &str) -> Result<(), Error> {
        let value = parameter(name, &Value::String(text.to_owned()))?;
        match (self.parameters.get_mut(name), value) {
            (Some(Value::Array(list)), Value::Array(more)) => list.extend(more),
            (_, value) => {
                self.parameters.insert(name.to_owned(), value);
            }
        }
        Ok(())
    }
}

fn license_error() -> Error {
    Error::Invalid("'license' must be a string or a list of strings".into())
}

fn present<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Error> {
    let string = |value: &'a Value| {
        value
            .as_str()
            .ok_or_else(|| Error::Invalid(format!("'{name}' must be a string")))
    };
    present(fields, name).map(string).transpose()
}

/// `files` names uploads by file name; one GGUF file makes a model.
fn only_file(files: &Value) -> Result<Digest, Error> {
    let wrong = || Error::Invalid("'files' must be an object of file names and digests".into());
    let files = files.as_object().ok_or_else(wrong)?;
    let mut files = files.iter();
    match (files.next(), files.next()) {
        (Some((name, digest)), None) if name.to_ascii_lowercase().ends_with(".gguf") => {
            Digest::new(digest.as_str().ok_or_else(wrong)?)
        }
        _ => Err(Error::NotSupported(
            "create: 'files': a model is made from exactly one GGUF file; other formats and sharded files are not supported"
                .into(),
        )),
    }
}

/// The value as it goes into the manifest: a number as a number, `stop` as a list.
fn parameter(name: &str, value: &Value) -> Result<Value, Error> {
    let Some((_, kind)) = PARAMETERS.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = PARAMETERS.iter().map(|(name, _)| *name).collect();
        let name: String = name.chars().take(40).collect();
        return Err(Error::Invalid(format!(
            "unknown parameter '{name}'; the parameters are {}",
            known.join(", ")
        )));
    };
    let read = match (kind, value) {
        (Kind::Int, Value::Number(number)) => number.as_i64().map(Value::from),
        (Kind::Int, Value::String(text)) => text.parse::<i64>().ok().map(Value::from),
        (Kind::Float, Value::Number(_)) => Some(value.clone()),
        (Kind::Float, Value::String(text)) => text
            .parse()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map(Value::Number),
        (Kind::Bool, Value::Bool(_)) => Some(value.clone()),
        (Kind::Bool, Value::String(text)) => text.parse::<bool>().ok().map(Value::Bool),
        (Kind::Text, Value::String(_)) => Some(value.clone()),
        (Kind::Texts, Value::String(_)) => Some(Value::Array(vec![value.clone()])),
        (Kind::Texts, Value::Array(list)) if list.iter().all(Value::is_string) => Some(value.clone()),
        _ => None,
    };
    let expected = match kind {
        Kind::Int => "a whole number",
        Kind::Float => "a number",
        Kind::Bool => "true or false",
        Kind::Text => "a string",
        Kind::Texts => "a string or a list of strings",
    };
    read.ok_or_else(|| Error::Invalid(format!("parameter '{name}' must be {expected}")))
}

/// Whether a template is one of Ollama's: fields with a leading dot, and words where Jinja has `{% ... %}`.
fn is_go_template(template: &str) -> bool {
    template.split("{{").skip(1).any(|rest| {
        let rest = rest.trim_start_matches('-').trim_start();
        let word = rest
            .split(|char: char| !char.is_ascii_alphanumeric())
            .next()
            .unwrap_or_default();
        rest.starts_with(['.', '$']) || matches!(word, "if" | "else" | "end" | "range" | "with" | "block" | "define")
    })
}
