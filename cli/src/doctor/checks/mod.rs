//! From facts to findings, a file for each subject.

mod build;
mod devices;
mod folders;
mod limits;
mod memory;
mod model;
mod ports;
mod power;
mod wired;

use super::{Facts, Finding};

/// All findings, by subject.
pub(super) fn all(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![build::version(&facts.build)];
    // the processor is that of this machine, which facts from a file are not about
    findings.extend(facts.here.as_ref().map(|_| build::cpu(&facts.build)));
    findings.extend(devices::check(&facts.machine, &facts.build));
    findings.extend(wired::check(&facts.machine, facts.model.as_ref()));
    findings.extend(memory::check(&facts.machine));
    if let Some(here) = &facts.here {
        findings.extend(here.ports.iter().map(ports::check));
        findings.extend(here.folders.iter().flat_map(folders::check));
        findings.extend(limits::check(&here.limits));
        findings.extend(power::check(&here.power));
    }
    findings.extend(facts.model.iter().flat_map(model::check));
    findings
}
