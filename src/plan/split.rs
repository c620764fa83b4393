//! Which pool each layer goes to, as the engine splits a model.

use crate::GpuLayers;
use crate::machine::Pool;

/// The pool of each of `n_layers` layers and, as the last entry, of the output. The last layers go to the devices, each of which
/// gets a part in proportion to its free memory, in order (`llama_model_base::load_tensors` of llama.cpp). The output counts
/// as one more layer after the last.
pub fn layer_pools(n_layers: usize, gpu_layers: GpuLayers, devices: &[(Pool, u64)]) -> Vec<Pool> {
    let all = n_layers + 1;
    let on_devices = match gpu_layers {
        _ if devices.is_empty() => 0,
        GpuLayers::All => all,
        GpuLayers::Count(count) => usize::try_from(count).unwrap_or(usize::MAX).min(all),
    };
    let first = all - on_devices;
    let sum: f64 = devices.iter().map(|(_, free)| *free as f64).sum();
    let mut edges = Vec::with_capacity(devices.len());
    let mut running = 0.0;
    for (number, (_, free)) in devices.iter().enumerate() {
        running += *free as f64;
        edges.push(if sum == 0.0 {
            (number + 1) as f64 / devices.len() as f64
        } else {
            running / sum
        });
    }
    (0..all)
        .map(|layer| {
            if layer < first {
                return Pool::Main;
            }
            let at = (layer - first) as f64 / on_devices as f64;
            let number = edges.iter().position(|edge| *edge > at).unwrap_or(devices.len() - 1);
            devices[number].0
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const G0: Pool = Pool::Gpu(0);
    const G1: Pool = Pool::Gpu(1);

    #[test]
    fn without_a_device_everything_is_in_main_memory() {
        assert_eq!(layer_pools(2, GpuLayers::All, &[]), [Pool::Main; 3]);
        assert_eq!(layer_pools(2, GpuLayers::Count(0), &[(G0, 8)]), [Pool::Main; 3]);
    }

    #[test]
    fn the_last_layers_go_to_the_device_and_the_output_first() {
        assert_eq!(
            layer_pools(3, GpuLayers::Count(1), &[(G0, 8)]),
            [Pool::Main, Pool::Main, Pool::Main, G0]
        );
        assert_eq!(
            layer_pools(3, GpuLayers::Count(3), &[(G0, 8)]),
            [Pool::Main, G0, G0, G0]
        );
        assert_eq!(layer_pools(3, GpuLayers::Count(99), &[(G0, 8)]), [G0; 4]);
    }

    #[test]
    fn several_devices_share_in_proportion_to_their_free_memory() {
        assert_eq!(layer_pools(3, GpuLayers::All, &[(G0, 10), (G1, 10)]), [G0, G0, G1, G1]);
        assert_eq!(layer_pools(3, GpuLayers::All, &[(G0, 30), (G1, 10)]), [G0, G0, G0, G1]);
        assert_eq!(layer_pools(3, GpuLayers::All, &[(G0, 0), (G1, 0)]), [G0, G0, G1, G1]);
    }
}
