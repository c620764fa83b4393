//! The text form of a creation, as Ollama's Modelfile has it.

use super::{Creation, Error};

/// Reads FROM, PARAMETER, SYSTEM, TEMPLATE and LICENSE.
///
/// # Errors
/// Other instructions; each error names its line.
pub(super) fn parse(text: &str) -> Result<Creation, Error> {
    let mut creation = Creation::default();
    let mut rest = text;
    let mut number = 0;
    while !rest.is_empty() {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        number += 1;
        let at = |error: Error| Error::Invalid(format!("modelfile, line {number}: {error}"));
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            rest = after;
            continue;
        }
        let (instruction, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        if value.trim().is_empty() {
            return Err(at(Error::Invalid(format!("{} needs a value", excerpt(instruction)))));
        }
        // from `rest`, not from the line: a quoted text goes on over the next ones
        let indent = rest.len() - rest.trim_start().len();
        let (value, after, lines) = value_at(&rest[indent + instruction.len()..]).map_err(at)?;
        match instruction.to_ascii_uppercase().as_str() {
            "FROM" => creation.from = Some(value),
            "SYSTEM" => creation.system = Some(value),
            "TEMPLATE" => creation.set_template(&value).map_err(at)?,
            "LICENSE" => creation.license.push(value),
            "PARAMETER" => {
                let (name, value) = value.split_once(char::is_whitespace).unwrap_or((&value, ""));
                let name = name.to_ascii_lowercase();
                creation.add_parameter(&name, unquoted(value.trim())).map_err(at)?;
            }
            "ADAPTER" | "MESSAGE" => {
                return Err(Error::NotSupported(format!(
                    "modelfile, line {number}: {instruction} is not supported"
                )));
            }
            other => {
                let known = "FROM, PARAMETER, SYSTEM, TEMPLATE and LICENSE";
                return Err(at(Error::Invalid(format!(
                    "unknown instruction {}; known are {known}",
                    excerpt(other)
                ))));
            }
        }
        number += lines;
        rest = after;
    }
    Ok(creation)
}

/// The value that `text` begins with, what follows its last line, and how many more lines it took: the rest of the line, or
/// everything between three quotes.
fn value_at(text: &str) -> Result<(String, &str, usize), Error> {
    let quoted = text.trim_start();
    let Some(inner) = quoted.strip_prefix("\"\"\"") else {
        let (line, after) = text.split_once('\n').unwrap_or((text, ""));
        return Ok((unquoted(line.trim()).to_owned(), after, 0));
    };
    let (value, after) = inner
        .split_once("\"\"\"")
        .ok_or_else(|| Error::Invalid("a text that begins with three quotes must end with them".into()))?;
    let (tail, after) = after.split_once('\n').unwrap_or((after, ""));
    if !tail.trim().is_empty() {
        return Err(Error::Invalid("there is something behind the closing quotes".into()));
    }
    Ok((value.to_owned(), after, value.matches('\n').count()))
}

fn unquoted(text: &str) -> &str {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    inner.unwrap_or(text)
}

fn excerpt(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_modelfile_is_read() {
        let text = "# mine\nFROM org/repo:Q8_0\nparameter temperature 0.5\nPARAMETER num_ctx 4096\n\
                    PARAMETER stop \"<|end|>\"\nPARAMETER stop STOP\nSYSTEM \"\"\"You are\na pirate.\"\"\"\n\
                    TEMPLATE {{ messages[0].content }}\nLICENSE MIT";
        let creation = parse(text).unwrap();
        assert_eq!(creation.from.as_deref(), Some("org/repo:Q8_0"));
        assert_eq!(creation.system.as_deref(), Some("You are\na pirate."));
        assert_eq!(creation.template.as_deref(), Some("{{ messages[0].content }}"));
        assert_eq!(creation.license, ["MIT"]);
        assert_eq!(
            serde_json::Value::Object(creation.parameters),
            json!({ "temperature": 0.5, "num_ctx": 4096, "stop": ["<|end|>", "STOP"] })
        );
    }

    #[test]
    fn a_value_that_is_part_of_its_instruction_is_read() {
        assert_eq!(parse("  FROM R").unwrap().from.as_deref(), Some("R"));
    }

    #[test]
    fn what_cannot_be_followed_is_an_error_with_its_line() {
        for (text, line) in [
            ("FROM x\nADAPTER ./lora.gguf", "line 2"),
            ("FROM x\nSYSTEM \"\"\"a\nb\"\"\"\nMESSAGE user hi", "line 4"),
            ("FROM x\nNONSENSE y", "line 2"),
            ("FROM", "line 1"),
            ("FROM x\n  SYSTEM  ", "line 2"),
            ("FROM x\nPARAMETER num_ctx many", "num_ctx"),
            ("FROM x\nPARAMETER mirostat_moon 1", "mirostat_moon"),
            ("FROM x\nSYSTEM \"\"\"open", "line 2"),
            ("FROM x\nTEMPLATE {{ .Prompt }}", "Jinja"),
            ("FROM x\nTEMPLATE \"\"\"{{- if .System }}x{{ end }}\"\"\"", "Jinja"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(line), "{text:?}: {error}");
        }
    }
}
