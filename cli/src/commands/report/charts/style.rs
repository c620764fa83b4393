//! Colours, signs and dashes of the caches: the same cache looks the same in every chart of a page.

/// How a series looks. Colour is never alone: the sign differs too, and beyond eight caches the dash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Number of the colour, 0 to 7: class `k0` to `k7`.
    pub colour: usize,
    round: usize,
}

/// Caches that always have the same colour, so that two reports can be laid side by side.
const KNOWN: [&str; 7] = ["f16", "turbo4", "turbo3", "turbo2", "q8_0", "q4_0", "q5_0"];
const COLOURS: usize = 8;

/// Signs, 4 to 5 px around the point.
const MARKERS: [&str; 8] = [
    "M-4,0A4,4 0 1 1 4,0A4,4 0 1 1 -4,0Z",
    "M-3.7,-3.7H3.7V3.7H-3.7Z",
    "M0,-4.8L4.4,3.4H-4.4Z",
    "M0,-5L5,0L0,5L-5,0Z",
    "M0,4.8L4.4,-3.4H-4.4Z",
    "M-1.6,-4.6H1.6V-1.6H4.6V1.6H1.6V4.6H-1.6V1.6H-4.6V-1.6H-1.6Z",
    "M0,-5L4.8,-1.5L2.9,4.1H-2.9L-4.8,-1.5Z",
    "M-5,-2.6H5V2.6H-5Z",
];

impl Style {
    /// The `number`th style.
    pub fn of(number: usize) -> Self {
        Self {
            colour: number % COLOURS,
            round: number / COLOURS,
        }
    }

    /// The path of its sign.
    pub fn marker(self) -> &'static str {
        MARKERS[(self.colour + 3 * self.round) % MARKERS.len()]
    }

    /// The class of its dash.
    pub fn dash(self) -> &'static str {
        ["d0", "d1", "d2"][self.round % 3]
    }
}

/// Styles by name, in the order in which names appear.
#[derive(Debug, Default)]
pub struct Styles {
    others: Vec<String>,
}

impl Styles {
    /// The style of a cache.
    pub fn of(&mut self, name: &str) -> Style {
        if let Some(known) = KNOWN.iter().position(|known| *known == name) {
            return Style::of(known);
        }
        let at = self.others.iter().position(|other| other == name).unwrap_or_else(|| {
            self.others.push(name.to_owned());
            self.others.len() - 1
        });
        Style::of(KNOWN.len() + at)
    }
}

/// Colours in light and dark; the eight of the series keep 3:1 against the background and differ for colour-blind eyes
/// (after Okabe and Ito, darker on white and lighter on black).
pub const VARIABLES: &str = "
:root{color-scheme:light dark;--paper:#fff;--card:#fff;--ink:#1d2329;--soft:#57616b;--rule:#d5dadf;--faint:#eef1f4;--edge:#1d232933;
--k0:#3b444d;--k1:#0069b4;--k2:#c4480b;--k3:#007a5c;--k4:#a43d7c;--k5:#8a6700;--k6:#5a4fcf;--k7:#b02a37;
--h0:#fbe3d6;--h1:#f6d9ad;--h2:#d3e3f0;--h3:#9cc3e2;--h4:#0a5c9c;--on:#1d2329;--on4:#fff;
--good:#0b6b3a;--bad:#a3241c;--warn:#7a5200;--good-b:#e3f3e9;--bad-b:#fbe7e5;--warn-b:#fbf0d9;--none-b:#eef1f4}
@media (prefers-color-scheme:dark){:root{--paper:#14181c;--card:#1a1f24;--ink:#e6eaee;--soft:#a3adb7;--rule:#3a424a;--edge:#000000b0;
--faint:#262c32;--k0:#c9d1d9;--k1:#58b0f0;--k2:#ff8d52;--k3:#35c79b;--k4:#e58fc3;--k5:#e5bd3c;--k6:#a79eff;--k7:#ff8087;
--h0:#5a2f1c;--h1:#57431a;--h2:#1e3a52;--h3:#2a618f;--h4:#8cc6f2;--on:#eef2f5;--on4:#0c1116;
--good:#6fd39a;--bad:#ff948b;--warn:#eec36a;--good-b:#15301f;--bad-b:#3b1c1a;--warn-b:#36290f;--none-b:#262c32}}
";

/// Classes of the elements of charts.
pub const CSS: &str = "
.chart{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}
.chart text{fill:var(--ink)}.chart .tick,.chart .note{fill:var(--soft)}.chart .title{font-weight:600}
.chart .on{fill:var(--on)}.chart .on4{fill:var(--on4)}
.paper{fill:var(--paper)}.grid{stroke:var(--faint)}.base{stroke:var(--soft)}.ref{stroke:var(--soft);stroke-dasharray:5 4}
.line{fill:none;stroke-width:2;stroke-linejoin:round}.d1{stroke-dasharray:7 4}.d2{stroke-dasharray:2 4}
.whisker{stroke-width:1.4}.hollow{stroke-width:1.8}.solid{stroke:var(--paper);stroke-width:.8}
.link{stroke:var(--soft);stroke-width:.8}
.h0{fill:var(--h0)}.h1{fill:var(--h1)}.h2{fill:var(--h2)}.h3{fill:var(--h3)}.h4{fill:var(--h4)}
.hn{fill:none;stroke:var(--rule);stroke-dasharray:3 3}
.k0{stroke:var(--k0)}.k1{stroke:var(--k1)}.k2{stroke:var(--k2)}.k3{stroke:var(--k3)}
.k4{stroke:var(--k4)}.k5{stroke:var(--k5)}.k6{stroke:var(--k6)}.k7{stroke:var(--k7)}
.solid.k0,.area.k0{fill:var(--k0)}.solid.k1,.area.k1{fill:var(--k1)}.solid.k2,.area.k2{fill:var(--k2)}
.solid.k3,.area.k3{fill:var(--k3)}.solid.k4,.area.k4{fill:var(--k4)}.solid.k5,.area.k5{fill:var(--k5)}
.solid.k6,.area.k6{fill:var(--k6)}.solid.k7,.area.k7{fill:var(--k7)}
.area{fill-opacity:.88}.hollow{fill:none}.area.open{fill-opacity:.25;stroke-width:1.2}
.solid{stroke:var(--paper)}.area.k0,.area.k1,.area.k2,.area.k3,.area.k4,.area.k5,.area.k6,.area.k7{stroke-width:1}
.over{stroke:var(--ink);stroke-width:1.4}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_keeps_its_style_and_no_two_look_alike() {
        let mut styles = Styles::default();
        let names = [
            "q8_0/turbo4",
            "f16",
            "turbo4",
            "map:a",
            "turbo2@0",
            "q5_1",
            "iq4_nl",
            "q4_1",
            "x",
        ];
        let looks: Vec<_> = names.iter().map(|name| styles.of(name)).collect();
        for (i, look) in looks.iter().enumerate() {
            assert_eq!(styles.of(names[i]), *look);
            for other in &looks[..i] {
                assert_ne!((look.colour, look.dash()), (other.colour, other.dash()), "{}", names[i]);
            }
        }
        assert_eq!(styles.of("turbo4"), Styles::default().of("turbo4"));
    }
}
