//! Prints `kernels/common/levels.h`, the codec's tables, from the converged solver:
//!
//!     cargo run --example levels_header > kernels/common/levels.h

fn main() {
    print!("{}", llama_turboquant::codec::lloyd::render_levels_header());
}
