//! Fill-in-the-middle prompts, in the form that Qwen2.5-Coder introduced and llama.cpp's server documents:
//!
//! ```text
//! <repo>project\n <separator>file\n text ... <separator>file\n <prefix>before<suffix>after<middle>beginning
//! ```

use super::backend_error;
use crate::commands::serve::backend::{BackendError, Infill};
use llama_turboquant::{Model, Token};

/// Stand for names that requests do not give; the ones llama.cpp's server uses, so that prompts agree.
const PROJECT: &str = "myproject\n";
const CURRENT_FILE: &str = "filename\n";
/// Between other files, for models without a token for it.
const SNIPPET: &str = "\n\n--- snippet ---\n\n";

/// The prompt, of at most `room` tokens. What is around the place is never cut. Other files get what it leaves, but at most
/// half of the room: the nearest ones (the last) first; the first that does not fit loses its beginning, the rest are left
/// out.
pub(super) fn tokens(model: &Model, infill: &Infill, room: usize) -> Result<Vec<Token>, BackendError> {
    let fim = model.meta().fim;
    if fim.prefix < 0 || fim.suffix < 0 || fim.middle < 0 {
        return Err(BackendError::NotSupported(
            "this model has no tokens for fill-in-the-middle prompts; serve one made for code completion, such as \
             Qwen2.5-Coder"
                .into(),
        ));
    }
    // A file that spells out a special token is still text.
    let tokenize = |text: &str| model.tokenize(text, false, false).map_err(backend_error);
    let known = |token: Token| (token >= 0).then_some(token);
    let (repo, separator) = (known(fim.repo), known(fim.separator));

    let mut place = Vec::new();
    if let Some(separator) = separator {
        place.push(separator);
        place.extend(tokenize(CURRENT_FILE)?);
    }
    place.push(fim.prefix);
    place.extend(tokenize(&infill.prefix)?);
    place.push(fim.suffix);
    place.extend(tokenize(&infill.suffix)?);
    place.push(fim.middle);
    place.extend(tokenize(&infill.prompt)?);

    let mut prompt = Vec::new();
    if model.meta().add_bos {
        prompt.extend(known(model.meta().bos));
    }
    if let Some(repo) = repo {
        prompt.push(repo);
        prompt.extend(tokenize(PROJECT)?);
    }

    let left = room.saturating_sub(prompt.len() + place.len()).min(room / 2);
    let mut files = Vec::new();
    for (name, text) in &infill.extra {
        let head = match separator {
            Some(separator) => [vec![separator], tokenize(&format!("{name}\n"))?].concat(),
            None => tokenize(SNIPPET)?,
        };
        files.push((head, tokenize(text)?));
    }
    for (head, text) in nearest(files, left) {
        prompt.extend(head);
        prompt.extend(text);
    }
    prompt.extend(place);
    Ok(prompt)
}

type File = (Vec<Token>, Vec<Token>);

/// The last files that fit `room`, in their order.
fn nearest(files: Vec<File>, mut room: usize) -> Vec<File> {
    let mut kept = Vec::new();
    for (head, mut text) in files.into_iter().rev() {
        let Some(space) = room.checked_sub(head.len()).filter(|&space| space > 0) else {
            break;
        };
        let cut = text.len().saturating_sub(space);
        text.drain(..cut);
        room = space - text.len();
        kept.push((head, text));
        if cut > 0 {
            break;
        }
    }
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_files_stay_and_the_first_that_does_not_fit_keeps_its_end() {
        let files = || {
            vec![
                (vec![-1], vec![1, 2, 3]),
                (vec![-2], vec![4, 5, 6]),
                (vec![-3], vec![7, 8]),
            ]
        };
        let kept = |room| nearest(files(), room);
        assert_eq!(kept(100), files());
        assert_eq!(kept(11), files());
        assert_eq!(kept(7), files()[1..]);
        assert_eq!(kept(5), [(vec![-2], vec![6]), (vec![-3], vec![7, 8])]);
        assert_eq!(kept(4), files()[2..], "a file's name alone says nothing");
        assert_eq!(kept(2), [(vec![-3], vec![8])]);
        assert_eq!(kept(1), []);
        assert_eq!(kept(0), []);
    }
}
