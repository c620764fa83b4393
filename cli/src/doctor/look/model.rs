//! Whether a model file is whole, and would fit.

use super::gguf;
use crate::decide::{self, Place};
use crate::doctor::facts::{FileState, ModelFile};
use crate::settings::human_bytes;
use llama_turboquant::choose::Wishes;
use std::path::{Path, PathBuf};

pub(super) fn look(path: &Path, place: &Place) -> ModelFile {
    let state = state(path);
    let fits = matches!(state, FileState::Whole { .. }).then(|| fits(path, place));
    ModelFile {
        path: path.to_owned(),
        state,
        fits,
    }
}

fn state(path: &Path) -> FileState {
    if path.is_dir() {
        return FileState::Unusable("it is a folder; name the .gguf file in it".into());
    }
    let head = match gguf::head(path) {
        Ok(head) => head,
        Err(why) => return FileState::Unusable(why),
    };
    let files = match shards(path, head.files) {
        Ok(files) => files,
        Err(why) => return FileState::Unusable(why),
    };
    let missing: Vec<PathBuf> = files.iter().filter(|file| !file.is_file()).cloned().collect();
    if !missing.is_empty() {
        return FileState::Missing(missing);
    }
    let mut bytes = 0;
    for file in files {
        let head = match gguf::head(&file) {
            Ok(head) => head,
            Err(why) => return FileState::Unusable(format!("{}: {why}", file.display())),
        };
        let there = match file.metadata() {
            Ok(meta) => meta.len(),
            Err(error) => return FileState::Unusable(format!("{}: {error}", file.display())),
        };
        if there < head.expected {
            return FileState::Cut {
                file,
                expected: head.expected,
                there,
            };
        }
        bytes += there;
    }
    FileState::Whole {
        files: head.files,
        bytes,
    }
}

/// All files of a model, by the name that llama.cpp gives shards: `name-00001-of-00003.gguf`.
fn shards(path: &Path, count: u32) -> Result<Vec<PathBuf>, String> {
    if count == 1 {
        return Ok(vec![path.to_owned()]);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let end = format!("-of-{count:05}.gguf");
    let stem = name
        .strip_suffix(&end)
        .and_then(|name| name.split_at_checked(name.len().checked_sub(5)?))
        .filter(|(_, number)| number.bytes().all(|byte| byte.is_ascii_digit()))
        .map(|(stem, _)| stem.to_owned());
    let stem = stem.ok_or_else(|| format!("it is one of {count} files, and its name does not end with -NNNNN{end}"))?;
    Ok((1..=count)
        .map(|number| path.with_file_name(format!("{stem}{number:05}{end}")))
        .collect())
}

fn fits(path: &Path, place: &Place) -> Result<String, String> {
    let decided = decide::footprint(Some(path)).and_then(|footprint| place.decide(&footprint, &Wishes::default()));
    let decision = decided.map_err(|error| format!("{error:#}"))?;
    let pools: Vec<String> = decision
        .plan
        .pools
        .iter()
        .map(|pool| {
            let room = pool
                .capacity
                .get()
                .map_or_else(String::new, |room| format!(" of {}", human_bytes(room)));
            format!("{}{room} in {}", human_bytes(pool.share.total()), pool.name)
        })
        .collect();
    Ok(format!(
        "it fits: K {} and V {} with {} tokens for {} requests at once takes {}",
        decision.kv.k,
        decision.kv.v,
        decision.n_ctx,
        decision.n_slots,
        pools.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny-q8_0.gguf");

    fn copied(change: impl FnOnce(&mut Vec<u8>)) -> FileState {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        let mut bytes = fs::read(TINY).unwrap();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        state(&path)
    }

    #[test]
    fn a_whole_file_has_all_its_tensors() {
        let bytes = fs::metadata(TINY).unwrap().len();
        assert_eq!(copied(|_| {}), FileState::Whole { files: 1, bytes });
    }

    #[test]
    fn a_file_that_lost_its_last_byte_is_cut() {
        let state = copied(|bytes| {
            bytes.pop();
        });
        assert!(
            matches!(state, FileState::Cut { expected, there, .. } if expected == there + 1),
            "{state:?}"
        );
    }

    #[test]
    fn a_file_that_ends_anywhere_in_its_head_is_refused_with_the_reason() {
        for length in [0, 3, 4, 8, 20, 100, 5000] {
            let state = copied(|bytes| bytes.truncate(length));
            assert!(matches!(state, FileState::Unusable(_)), "{length}: {state:?}");
        }
    }

    #[test]
    fn heads_that_lie_are_refused() {
        for (at, value) in [
            (0, b'X'),
            (4, 9),
            (12, 0xff),
            (15, 0xff),
            (20, 0xff),
            (23, 0xff),
            (31, 0xff),
        ] {
            let state = copied(|bytes| bytes[at] = value);
            assert!(matches!(state, FileState::Unusable(_)), "byte {at}: {state:?}");
        }
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(state(dir.path()), FileState::Unusable(why) if why.contains("folder")));
        assert!(matches!(state(&dir.path().join("none")), FileState::Unusable(_)));
    }

    #[test]
    fn shards_are_named_by_their_number() {
        let path = Path::new("/m/x-00002-of-00003.gguf");
        let names: Vec<PathBuf> = shards(path, 3).unwrap();
        assert_eq!(names[0], Path::new("/m/x-00001-of-00003.gguf"));
        assert_eq!(names.len(), 3);
        assert!(
            shards(Path::new("/m/x.gguf"), 3)
                .unwrap_err()
                .contains("one of 3 files")
        );
        assert!(shards(Path::new("/m/-of-00003.gguf"), 3).is_err());
    }
}
