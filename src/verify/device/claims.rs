//! What this build claims of a device: where it refuses less than that, the build is broken; more is a gift.

use super::cells::{Cell, RowsKind};

/// The cells that a backend has kernels for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claims {
    /// All of them.
    All,
    /// All but the copies to f16, which llama.cpp's CPU backend has for no packed type.
    Cpu,
    /// None, for that reason.
    None(String),
}

impl Claims {
    /// For a backend by the engine's name. `matrices`: the device runs llama.cpp's own attention over an f16 cache, which on
    /// Metal takes the simdgroup functions that our kernels take, too (Apple7, M1 or A14, and later).
    #[must_use]
    pub fn of(backend: &str, matrices: bool) -> Self {
        match backend {
            "CPU" => Self::Cpu,
            "MTL" | "Metal" if matrices => Self::All,
            "MTL" | "Metal" => Self::None(
                "this graphics processor lacks simdgroup matrices (Apple7 family and later), without which llama.cpp's own \
                 attention does not run on it either; virtual machines often hide them"
                    .into(),
            ),
            _ => Self::None(format!("this build has no kernels for turbo caches on {backend}")),
        }
    }

    /// Whether a device of this backend must be asked for simdgroup matrices.
    pub(super) fn depend_on_matrices(backend: &str) -> bool {
        matches!(backend, "MTL" | "Metal")
    }

    /// Whether the device must run it.
    #[must_use]
    pub fn include(&self, cell: &Cell) -> bool {
        match self {
            Self::All => true,
            Self::Cpu => !matches!(
                cell,
                Cell::Rows {
                    rows: RowsKind::Decode { to: "f16" },
                    ..
                }
            ),
            Self::None(_) => false,
        }
    }

    /// Whether the device is asked. llama.cpp's CPU backend says yes to copies that it then aborts on.
    pub(super) fn allow(&self, cell: &Cell) -> bool {
        *self != Self::Cpu || self.include(cell)
    }

    /// In words.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::All => "every kernel of the registry".into(),
            Self::Cpu => "every kernel of the registry but CPY to f16".into(),
            Self::None(why) => format!("nothing: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: RowsKind) -> Cell {
        let ty = "turbo4".into();
        Cell::Rows { rows, ty }
    }

    #[test]
    fn metal_must_run_everything_unless_it_lacks_simdgroup_matrices() {
        assert_eq!(Claims::of("MTL", true), Claims::All);
        let without = Claims::of("MTL", false);
        assert!(!without.include(&rows(RowsKind::Get)) && without.text().contains("simdgroup matrices"));
    }

    #[test]
    fn the_cpu_must_run_everything_but_copies_to_f16() {
        let cpu = Claims::of("CPU", true);
        let missing: Vec<_> = RowsKind::ALL
            .into_iter()
            .filter(|kind| !cpu.include(&rows(*kind)))
            .collect();
        assert_eq!(missing, [RowsKind::Decode { to: "f16" }]);
    }

    #[test]
    fn other_backends_claim_nothing_and_are_asked_all_the_same() {
        let cuda = Claims::of("CUDA", true);
        assert!(!cuda.include(&rows(RowsKind::Get)) && cuda.allow(&rows(RowsKind::Get)));
        assert!(cuda.text().contains("CUDA"));
    }
}
