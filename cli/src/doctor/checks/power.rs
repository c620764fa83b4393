//! What slows the processor down.

use crate::doctor::facts::{Governor, Power};
use crate::doctor::{Finding, Level};
use llama_turboquant::machine::Fact;

pub(super) fn check(power: &Power) -> Vec<Finding> {
    let mut findings = vec![governor(&power.governor)];
    findings.extend(heat(&power.heat));
    findings.extend(firmware(&power.firmware));
    findings.extend(hypervisor(&power.hypervisor));
    findings.extend(share(
        &power.stolen,
        "power.stolen",
        "the hypervisor gave {} of this machine's time to others",
        "Other virtual machines compete for the processor; speeds vary from run to run.",
        "Measure at another time, or ask for dedicated cores.",
    ));
    findings.extend(share(
        &power.held_back,
        "power.held_back",
        "the container's processor limit held it back in {} of the periods",
        "Threads are stopped in the middle of a token, and the others wait for them.",
        "Raise the limit (`docker run --cpus`, CPUQuota=), or use as many --threads as it allows.",
    ));
    findings
}

fn governor(governor: &Fact<Governor>) -> Finding {
    const ID: &str = "power.governor";
    let governor = match governor {
        Fact::Known(governor) => governor,
        Fact::Unknown(why) => {
            return Finding::ok(
                ID,
                format!("how the processor's frequency is chosen is not visible here: {why}"),
            );
        }
    };
    let Governor {
        name,
        driver,
        preference,
    } = governor;
    // these two call their normal, dynamic choice powersave; everywhere else it is the lowest frequency, always
    let dynamic =
        driver.starts_with("intel_pstate") || driver.starts_with("amd-pstate-epp") || driver == "amd_pstate_epp";
    let saves = preference.as_deref() == Some("power");
    let what = match preference {
        Some(preference) => format!("the frequency governor is {name} ({driver}, preference {preference})"),
        None => format!("the frequency governor is {name} ({driver})"),
    };
    match (name.as_str(), dynamic) {
        ("powersave", false) => Finding::new(
            ID,
            Level::Warning,
            what,
            "The processor stays at its lowest frequency, so everything is some times slower.",
        )
        .remedy(
            "`sudo cpupower frequency-set -g performance` (or schedutil); on laptops choose another power profile.",
        ),
        (_, true) if saves => Finding::new(
            ID,
            Level::Warning,
            what,
            "The processor is told to save energy before it computes fast.",
        )
        .remedy("`powerprofilesctl set balanced`, or write balance_performance to energy_performance_preference."),
        _ => Finding::ok(ID, what),
    }
}

fn heat(heat: &Fact<u64>) -> Option<Finding> {
    let times = heat.get().filter(|times| *times > 0)?;
    Some(
        Finding::new(
            "power.heat",
            Level::Note,
            format!("the processor was slowed down for heat {times} times since it was started"),
            "Long answers may get slower as they go on.",
        )
        .remedy("Measure with `turboquant bench -r 10`: if later runs are slower, see to the cooling."),
    )
}

/// Bits of `vcgencmd get_throttled`: 0 to 3 now, 16 to 19 since the start.
fn firmware(bits: &Fact<u64>) -> Option<Finding> {
    const ID: &str = "power.supply";
    let bits = bits.get()?;
    const NAMES: [&str; 4] = [
        "the supply voltage is too low",
        "the frequency is capped",
        "it is throttled",
        "it is at its soft temperature limit",
    ];
    let of = |shift: u32| -> Vec<&str> {
        let set = NAMES
            .iter()
            .enumerate()
            .filter(|(bit, _)| bits >> shift >> bit & 1 == 1);
        set.map(|(_, name)| *name).collect()
    };
    let (now, before) = (of(0), of(16));
    let remedy =
        "Use the power supply made for this board (5 V at 5 A for a Raspberry Pi 5), a short cable, and a fan.";
    if !now.is_empty() {
        let what = format!("the board says: {}", now.join(", "));
        return Some(
            Finding::new(
                ID,
                Level::Warning,
                what,
                "It computes slower than it can, and may fail.",
            )
            .remedy(remedy),
        );
    }
    if !before.is_empty() {
        let what = format!("the board said, since it was started: {}", before.join(", "));
        return Some(Finding::new(ID, Level::Note, what, "Under load it may happen again.").remedy(remedy));
    }
    Some(Finding::ok(ID, "the board has enough power and is cool enough"))
}

fn hypervisor(hypervisor: &Fact<Option<String>>) -> Option<Finding> {
    let name = hypervisor.known()?.as_ref()?;
    Some(Finding::new(
        "power.virtual",
        Level::Note,
        format!("this is a virtual machine ({name})"),
        "Speeds vary with what else runs on the host, and the host may hide instruction sets and devices.",
    ))
}

/// A share of time that was lost, once it is noticeable.
fn share(lost: &Fact<f64>, id: &'static str, what: &str, means: &str, remedy: &str) -> Option<Finding> {
    const NOTICEABLE: f64 = 0.02;
    const BAD: f64 = 0.1;
    let lost = lost.get().filter(|lost| *lost >= NOTICEABLE)?;
    let level = if lost >= BAD { Level::Warning } else { Level::Note };
    let percent = format!("{:.0} %", lost * 100.0);
    Some(Finding::new(id, level, what.replace("{}", &percent), means).remedy(remedy))
}
