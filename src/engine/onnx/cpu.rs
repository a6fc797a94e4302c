//! The kind of CPU, by what decides how the runtime lays out its matrices.

/// Name of this CPU's kind, e.g. `x86_64 avx avx2 fma`; tools/model/prepack.py names it alike.
#[cfg(target_arch = "x86_64")]
pub fn kind() -> String {
    let features = [
        ("avx", std::arch::is_x86_feature_detected!("avx")),
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("avx512bw", std::arch::is_x86_feature_detected!("avx512bw")),
        ("avx512dq", std::arch::is_x86_feature_detected!("avx512dq")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ("avx512vl", std::arch::is_x86_feature_detected!("avx512vl")),
        ("avx512_vnni", std::arch::is_x86_feature_detected!("avx512vnni")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
    ];
    let names = features.into_iter().filter(|&(_, there)| there).map(|(name, _)| name);
    std::iter::once("x86_64").chain(names).collect::<Vec<_>>().join(" ")
}

/// Name of this CPU's kind.
#[cfg(not(target_arch = "x86_64"))]
pub fn kind() -> String {
    std::env::consts::ARCH.to_owned()
}
