//! What a repository has, and which of it is meant.

use super::{Error, Hub, Reference, Selector};
use crate::store::{DEFAULT_TAGS, Name, is_sha256, shard};
use llama_turboquant::CancelToken;
use serde_json::Value;

/// Pages of a listing that are read.
const MAX_PAGES: usize = 100;
/// Largest page.
const MAX_PAGE: usize = 16 << 20;
/// Shards of one model.
const MAX_SHARDS: u32 = 1000;

/// A file of a repository.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteFile {
    /// In the repository, parts separated by `/`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 in hexadecimal digits; a hub has none for files that it does not keep in its large file storage.
    pub sha256: Option<String>,
}

/// The files of one model, and its name.
#[derive(Debug)]
pub(super) struct Choice {
    pub name: Name,
    pub files: Vec<RemoteFile>,
}

/// The GGUF files of the repository, sorted by path.
pub(super) fn list(hub: &Hub, reference: &Reference, cancel: &CancelToken) -> Result<Vec<RemoteFile>, Error> {
    let repository = reference.repository();
    let mut url = format!("{}/api/models/{repository}/tree/main?recursive=true", hub.url());
    let mut files = Vec::new();
    for _ in 0..MAX_PAGES {
        let (text, next) = hub.text(&url, MAX_PAGE, cancel).map_err(|error| match error {
            Error::NotFound(_) => {
                Error::NotFound(format!("{}/{repository}: the hub has no such repository", hub.url()))
            }
            error => error,
        })?;
        let garbage = || Error::Answer {
            url: url.clone(),
            reason: "this is not a listing of a repository; is it a hub? (--hub-url, HF_ENDPOINT)".into(),
        };
        files.extend(page(&text).ok_or_else(garbage)?);
        match next {
            Some(next) => url = next,
            None => {
                files.sort_by(|a: &RemoteFile, b| a.path.cmp(&b.path));
                return Ok(files);
            }
        }
    }
    Err(Error::Answer {
        url,
        reason: format!("the listing has more than {MAX_PAGES} pages"),
    })
}

/// The model files of a page of a listing; `None`: it is no such page.
fn page(text: &str) -> Option<Vec<RemoteFile>> {
    let page: Value = serde_json::from_str(text).ok()?;
    Some(page.as_array()?.iter().filter_map(read).collect())
}

/// The files that `reference` means, of a repository whose listing is `text`; `None` for text that is no listing.
///
/// # Errors
/// A listing without such files.
pub fn wanted(text: &str, reference: &Reference) -> Option<Result<Vec<RemoteFile>, Error>> {
    let files = page(text)?;
    Some(choose(&files, reference).map(|choice| choice.files))
}

/// A model file of a listing. Paths come from another machine: what could leave the folder is no model.
fn read(entry: &Value) -> Option<RemoteFile> {
    let path = entry["path"].as_str()?;
    let name = path.rsplit('/').next()?.to_ascii_lowercase();
    let depth = path.split('/').count();
    if entry["type"] != "file" || !name.ends_with(".gguf") || name.starts_with("mmproj") || depth > 6 {
        return None;
    }
    if !path.split('/').all(is_safe) {
        tracing::warn!("the hub lists a file with an unusable name, it is left out: {path:?}");
        return None;
    }
    let lfs = &entry["lfs"];
    let digest = lfs["oid"]
        .as_str()
        .or_else(|| lfs["sha256"].as_str())
        .unwrap_or_default();
    let digest = digest.strip_prefix("sha256:").unwrap_or(digest);
    Some(RemoteFile {
        path: path.to_owned(),
        size: lfs["size"].as_u64().or_else(|| entry["size"].as_u64())?,
        sha256: is_sha256(digest).then(|| digest.to_ascii_lowercase()),
    })
}

/// A part of a path that is a plain file name everywhere and needs no escape in a URL but for spaces and the like.
fn is_safe(part: &str) -> bool {
    !part.is_empty()
        && part.len() <= 200
        && !part.starts_with('.')
        && !part
            .chars()
            .any(|char| char.is_control() || "\\/:*?\"<>|".contains(char))
}

/// The files that `reference` means.
pub(super) fn choose(files: &[RemoteFile], reference: &Reference) -> Result<Choice, Error> {
    let firsts = || {
        files
            .iter()
            .filter(|file| split(&file.path).is_none_or(|(_, number, _)| number == 1))
    };
    let exact =
        |tag: &str| firsts().find(|file| quant(&file.path).is_some_and(|quant| quant.eq_ignore_ascii_case(tag)));
    let tagged = |tag: &str| exact(tag).or_else(|| firsts().find(|file| has_tag(&file.path, tag)));
    let file = match &reference.selector {
        Selector::Default => DEFAULT_TAGS.into_iter().find_map(tagged).or_else(|| firsts().next()),
        Selector::Tag(tag) => tagged(tag),
        Selector::File(name) => files.iter().find(|file| file_name(&file.path) == name),
    };
    let file = file.ok_or_else(|| missing(files, reference))?;
    let tag = match &reference.selector {
        Selector::File(name) => name.clone(),
        _ => quant(&file.path).unwrap_or_else(|| file_name(&file.path).to_owned()),
    };
    let name = Name::new(&format!("{}:{tag}", reference.repository()))?;
    let files = match split(&file.path) {
        None => vec![file.clone()],
        Some((base, _, count)) if count <= MAX_SHARDS => {
            let shard = |number| format!("{base}-{number:05}-of-{count:05}.gguf");
            let find = |path: String| {
                files.iter().find(|file| file.path == path).cloned().ok_or_else(|| {
                    let repository = reference.repository();
                    Error::NotFound(format!(
                        "{repository}: the model has {count} shards, and the hub does not list {path}"
                    ))
                })
            };
            (1..=count).map(shard).map(find).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(missing(files, reference)),
    };
    Ok(Choice { name, files })
}

fn missing(files: &[RemoteFile], reference: &Reference) -> Error {
    let mut tags: Vec<String> = files
        .iter()
        .map(|file| quant(&file.path).unwrap_or_else(|| file_name(&file.path).to_owned()))
        .collect();
    tags.sort();
    tags.dedup();
    let repository = reference.repository();
    Error::NotFound(match (tags.is_empty(), &reference.selector) {
        (true, _) => format!("{repository} has no GGUF files; look for a repository with -GGUF in its name"),
        (_, Selector::Tag(tag) | Selector::File(tag)) => {
            format!("{repository} has no model '{tag}'; it has {}", tags.join(", "))
        }
        _ => format!(
            "{repository} has no model that can be downloaded; it has {}",
            tags.join(", ")
        ),
    })
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn split(path: &str) -> Option<(&str, u32, u32)> {
    shard(path.get(..path.len().checked_sub(5)?)?)
}

/// The tag in a file's name: `Q4_K_M` of `Model-7B-Q4_K_M-00001-of-00002.gguf`, `UD-Q2_K_XL` of `Model-UD-Q2_K_XL.gguf`.
fn quant(path: &str) -> Option<String> {
    let name = file_name(path);
    let stem = name.get(..name.len().checked_sub(5)?)?;
    let stem = shard(stem).map_or(stem, |(base, _, _)| base).to_ascii_uppercase();
    let words: Vec<&str> = stem.split(['-', '.']).collect();
    let at = words.iter().rposition(|word| is_quant(word))?;
    let unsloth = at > 0 && words[at - 1] == "UD";
    Some(if unsloth {
        format!("UD-{}", words[at])
    } else {
        words[at].to_owned()
    })
}

fn is_quant(word: &str) -> bool {
    ["IQ", "Q", "TQ", "MXFP", "NVFP", "BF", "FP", "F"].iter().any(|prefix| {
        let rest = word.strip_prefix(prefix).unwrap_or_default();
        rest.starts_with(|char: char| char.is_ascii_digit())
    })
}

/// Whether `tag` stands in the path between separators, as llama.cpp looks for it.
fn has_tag(path: &str, tag: &str) -> bool {
    let (path, tag) = (path.to_ascii_lowercase(), tag.to_ascii_lowercase());
    path.match_indices(&tag).any(|(at, _)| {
        let before = path[..at].chars().next_back();
        let after = path[at + tag.len()..].chars().next();
        before.is_none_or(|char| "-._/".contains(char)) && after.is_some_and(|char| "-./".contains(char))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn files(paths: &[&str]) -> Vec<RemoteFile> {
        let file = |path: &&str| RemoteFile {
            path: (*path).to_owned(),
            size: 1,
            sha256: None,
        };
        paths.iter().map(file).collect()
    }

    fn chosen(paths: &[&str], reference: &str) -> Result<(String, Vec<String>), Error> {
        let choice = choose(&files(paths), &reference.parse()?)?;
        let paths = choice.files.into_iter().map(|file| file.path).collect();
        Ok((choice.name.to_string(), paths))
    }

    #[test]
    fn tags_are_read_from_file_names() {
        for (path, tag) in [
            ("Qwen2.5-7B-Instruct-Q4_K_M.gguf", Some("Q4_K_M")),
            ("sub/model.q8_0.gguf", Some("Q8_0")),
            ("m-UD-Q2_K_XL.gguf", Some("UD-Q2_K_XL")),
            ("m-BF16-00001-of-00002.gguf", Some("BF16")),
            ("m-IQ3_XXS.gguf", Some("IQ3_XXS")),
            ("gpt-oss-20b-mxfp4.gguf", Some("MXFP4")),
            ("llama-3.gguf", None),
        ] {
            assert_eq!(quant(path).as_deref(), tag, "{path}");
        }
    }

    #[test]
    fn without_a_tag_the_first_of_llama_cpp_s_order_is_taken() {
        let all = ["m-Q2_K.gguf", "m-Q4_K_M.gguf", "m-Q8_0.gguf"];
        assert_eq!(chosen(&all, "o/r").unwrap().0, "o/r:Q4_K_M");
        assert_eq!(chosen(&["m-Q2_K.gguf", "m-Q8_0.gguf"], "o/r").unwrap().0, "o/r:Q8_0");
        assert_eq!(chosen(&["m-Q2_K.gguf", "m-Q3_K.gguf"], "o/r").unwrap().0, "o/r:Q2_K");
        assert_eq!(chosen(&["model.gguf"], "o/r").unwrap().0, "o/r:model.gguf");
    }

    #[test]
    fn a_tag_matches_whole_words_in_any_case() {
        let all = ["m-IQ4_XS.gguf", "m-Q4_K_M.gguf", "m-Q4_K_S.gguf"];
        assert_eq!(
            chosen(&all, "o/r:q4_k_s").unwrap(),
            ("o/r:Q4_K_S".into(), vec!["m-Q4_K_S.gguf".into()])
        );
        let error = chosen(&all, "o/r:Q4").unwrap_err().to_string();
        assert!(error.contains("IQ4_XS, Q4_K_M, Q4_K_S"), "{error}");
    }

    #[test]
    fn a_sharded_model_is_all_of_its_shards() {
        let all = ["Q8_0/m-Q8_0-00001-of-00002.gguf", "Q8_0/m-Q8_0-00002-of-00002.gguf"];
        assert_eq!(chosen(&all, "o/r:Q8_0").unwrap().1, all);
        assert_eq!(chosen(&all, "o/r:m-Q8_0-00001-of-00002.gguf").unwrap().1, all);
        let error = chosen(&all[..1], "o/r:Q8_0").unwrap_err().to_string();
        assert!(error.contains("00002-of-00002"), "{error}");
    }

    #[test]
    fn names_that_could_leave_the_folder_are_no_models() {
        for path in [
            "../x.gguf",
            "a/../x.gguf",
            "/x.gguf",
            "a//x.gguf",
            ".x.gguf",
            "a\\x.gguf",
            "a\n.gguf",
            "C:x.gguf",
        ] {
            assert_eq!(
                read(&json!({ "type": "file", "path": path, "size": 1 })),
                None,
                "{path:?}"
            );
        }
        assert!(read(&json!({ "type": "file", "path": "a/x (1).gguf", "size": 1 })).is_some());
    }
}
