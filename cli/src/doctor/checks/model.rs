//! The model that was named.

use crate::doctor::facts::{FileState, ModelFile};
use crate::doctor::{Finding, Level};
use crate::settings::human_bytes;

pub(super) fn check(model: &ModelFile) -> Vec<Finding> {
    let mut findings = vec![file(model)];
    findings.extend(model.fits.as_ref().map(|fits| match fits {
        Ok(choice) => Finding::ok("model.fits", choice.clone()),
        Err(why) => Finding::new(
            "model.fits",
            Level::Problem,
            format!("it would not run here: {why}"),
            "`serve` and `run` would refuse it for the same reason.",
        )
        .remedy("Choose a smaller model or quantization, a shorter context (-c), or a smaller cache; `turboquant plan -m FILE` has the numbers."),
    }));
    findings
}

fn file(model: &ModelFile) -> Finding {
    const ID: &str = "model.file";
    let path = model.path.display();
    let broken = |what: String, means: &str| Finding::new(ID, Level::Problem, what, means);
    match &model.state {
        FileState::Whole { files: 1, bytes } => Finding::ok(
            ID,
            format!("{path} is whole: {}, every tensor is inside", human_bytes(*bytes)),
        ),
        FileState::Whole { files, bytes } => Finding::ok(
            ID,
            format!(
                "{path} is whole: {} in {files} files, every tensor is inside",
                human_bytes(*bytes)
            ),
        ),
        FileState::Cut { file, expected, there } => broken(
            format!(
                "{} ends too early: it has {there} bytes, and its tensors need {expected}",
                file.display()
            ),
            "It does not load, or it loads and crashes when the missing part is read.",
        )
        .remedy("Download it again; `turboquant pull` resumes and checks the SHA-256."),
        FileState::Missing(files) => {
            let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
            broken(
                format!(
                    "{path} is one of several files, and these are missing: {}",
                    names.join(", ")
                ),
                "The model loads only when all of its files are in one folder.",
            )
            .remedy("Download the missing files into the same folder.")
        }
        FileState::Unusable(why) => broken(format!("{path}: {why}"), "It does not load.")
            .remedy("Name a GGUF file that this user can read; `turboquant list` shows models that are there."),
    }
}
