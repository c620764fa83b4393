//! Folders that are written.

use crate::doctor::facts::{Folder, FolderState};
use crate::doctor::{Finding, Level};
use crate::settings::human_bytes;
use llama_turboquant::machine::Fact;

const GIB: u64 = 1 << 30;

/// A model of 27B parameters in Q4_K_M.
const A_LARGE_MODEL: u64 = 17 * GIB;

pub(super) fn check(folder: &Folder) -> Vec<Finding> {
    let path = folder.path.display();
    let purpose = folder.purpose;
    let id = match purpose {
        "models" => "folders.models",
        "slots" => "folders.slots",
        _ => "folders.embedded",
    };
    let (means, remedy) = match purpose {
        "models" => (
            "Models cannot be pulled or created.",
            "Choose another folder with --models-dir (OLLAMA_MODELS), or make this one yours: `chown`, `chmod u+rwx`.",
        ),
        "slots" => (
            "Conversations cannot be saved.",
            "Choose another folder with --slot-save-path, or make this one yours: `chown`, `chmod u+rwx`.",
        ),
        _ => (
            "The embedded model cannot be unpacked there, so commands without -m fail.",
            "Name a model with -m, or make the folder yours: `chown`, `chmod u+rwx`.",
        ),
    };
    let state = match &folder.state {
        FolderState::Writable => Finding::ok(id, format!("the folder for {purpose}, {path}, can be written")),
        FolderState::Absent => Finding::ok(
            id,
            format!("the folder for {purpose}, {path}, is not there yet and can be made"),
        ),
        FolderState::ReadOnly(why) => Finding::new(
            id,
            Level::Warning,
            format!("the folder for {purpose}, {path}, cannot be written: {why}"),
            means,
        )
        .remedy(remedy),
        FolderState::Unusable(why) => Finding::new(
            id,
            Level::Problem,
            format!("the folder for {purpose}, {path}, cannot be used: {why}"),
            means,
        )
        .remedy(remedy),
    };
    let mut findings = vec![state];
    if purpose != "embedded model" {
        findings.push(disk(folder));
    }
    findings
}

fn disk(folder: &Folder) -> Finding {
    let (id, needs) = match folder.purpose {
        "models" => ("disk.models", "A download is refused when its file does not fit."),
        _ => (
            "disk.slots",
            "A saved conversation is as large as its cache, up to some GiB.",
        ),
    };
    let free = match &folder.free {
        Fact::Known(free) => *free,
        Fact::Unknown(why) => {
            let what = format!("the free space for {} is unknown: {why}", folder.purpose);
            return Finding::new(id, Level::Note, what, needs);
        }
    };
    let what = format!("{} are free on the disk for {}", human_bytes(free), folder.purpose);
    if free < GIB {
        Finding::new(id, Level::Warning, what, needs)
            .remedy("Make room: `turboquant list` shows what is there, `turboquant rm` deletes it.")
    } else if folder.purpose == "models" && free < A_LARGE_MODEL {
        Finding::new(
            id,
            Level::Note,
            what,
            "A model of 27B parameters in Q4_K_M takes 17 GiB; smaller ones fit.",
        )
    } else {
        Finding::ok(id, what)
    }
}
