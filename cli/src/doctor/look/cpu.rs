//! Instruction sets of this CPU, by the engine's names of them.

/// Those that the engine has code for and that can be asked for here.
pub(super) fn has() -> Vec<String> {
    #[cfg(target_arch = "x86_64")]
    let sets = [
        ("AVX2", std::is_x86_feature_detected!("avx2")),
        ("FMA", std::is_x86_feature_detected!("fma")),
        ("F16C", std::is_x86_feature_detected!("f16c")),
        ("BMI2", std::is_x86_feature_detected!("bmi2")),
        ("AVX_VNNI", std::is_x86_feature_detected!("avxvnni")),
        ("AVX512", std::is_x86_feature_detected!("avx512f")),
        ("AVX512_VBMI", std::is_x86_feature_detected!("avx512vbmi")),
        ("AVX512_VNNI", std::is_x86_feature_detected!("avx512vnni")),
        ("AVX512_BF16", std::is_x86_feature_detected!("avx512bf16")),
    ];
    #[cfg(target_arch = "aarch64")]
    let sets = [
        ("NEON", std::arch::is_aarch64_feature_detected!("neon")),
        ("FP16_VA", std::arch::is_aarch64_feature_detected!("fp16")),
        ("DOTPROD", std::arch::is_aarch64_feature_detected!("dotprod")),
        ("MATMUL_INT8", std::arch::is_aarch64_feature_detected!("i8mm")),
        ("SVE", std::arch::is_aarch64_feature_detected!("sve")),
    ];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let sets: [(&str, bool); 0] = [];
    let there = sets.into_iter().filter(|(_, there)| *there);
    there.map(|(name, _)| name.to_owned()).collect()
}
