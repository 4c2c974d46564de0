//! Which instruction set a kernel runs with. One portable loop is compiled several times, each time with other vector
//! instructions allowed, and the processor decides at run time which of them is called.

use std::sync::OnceLock;

/// An instruction set that this processor has. A value can only be had from [`Level::best`] and [`Level::available`],
/// which look before they give one: that is what makes the calls behind `multiversion!` sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(pub(crate) Kind);

/// The versions that exist, slowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// What every processor of the target has.
    Portable,
    /// AVX2 and fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW, VL and DQ.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// The same, and the tiles of AMX for bytes.
    #[cfg(target_arch = "x86_64")]
    Amx,
}

/// What [`Level::best`] gives, once it has been asked or told.
static BEST: OnceLock<Level> = OnceLock::new();

/// Lets [`Level::best`] give the level of this name instead of the fastest: for measuring, and for processors on which less is
/// more. To be called before the first kernel runs. False when the processor has no such level or the choice was made.
pub fn limit_instructions(name: &str) -> bool {
    let Some(level) = Level::available().into_iter().find(|level| level.name() == name) else { return false };
    BEST.set(level).is_ok() || Level::best() == level
}

impl Level {
    /// The fastest one, found once.
    pub fn best() -> Self {
        *BEST.get_or_init(|| Self::available().pop().unwrap_or(Self(Kind::Portable)))
    }

    /// All that this processor can run, slowest first. Tests and measurements force a level by picking one from here.
    pub fn available() -> Vec<Self> {
        #[allow(unused_mut, reason = "only x86_64 has more than one")]
        let mut levels = vec![Self(Kind::Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma");
            if avx2 {
                levels.push(Self(Kind::Avx2));
            }
            if avx2
                && std::is_x86_feature_detected!("avx512f")
                && std::is_x86_feature_detected!("avx512bw")
                && std::is_x86_feature_detected!("avx512vl")
                && std::is_x86_feature_detected!("avx512dq")
            {
                levels.push(Self(Kind::Avx512));
                if std::is_x86_feature_detected!("avx512vnni") && amx() {
                    levels.push(Self(Kind::Amx));
                }
            }
        }
        levels
    }

    /// `portable`, `avx2`, `avx512` or `amx`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Kind::Amx => "amx",
        }
    }
}

/// Whether the processor has AMX for bytes, the system keeps its registers, and this process may use them; asks the system for
/// that once.
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
fn amx() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
    /// `arch_prctl`: asks for the use of a part of the processor's state. Source: the kernel's documentation of x86 xstate.
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    /// The data of the tiles.
    const XTILEDATA: libc::c_long = 18;
    /// Tiles, and their products of bytes, in EDX of leaf 7; extended states that the system switches, in ECX of leaf 1.
    const TILE_AND_INT8: u32 = 1 << 24 | 1 << 25;
    const OSXSAVE: u32 = 1 << 27;

    #[target_feature(enable = "xsave")]
    fn enabled_states() -> u64 {
        // SAFETY: register 0 exists wherever the instruction does.
        unsafe { _xgetbv(0) }
    }
    static USABLE: OnceLock<bool> = OnceLock::new();
    *USABLE.get_or_init(|| {
        if __cpuid(0).eax < 7 || __cpuid_count(7, 0).edx & TILE_AND_INT8 != TILE_AND_INT8 {
            return false;
        }
        // SAFETY: OSXSAVE says that the system lets programs ask.
        let states = if __cpuid(1).ecx & OSXSAVE != 0 { unsafe { enabled_states() } } else { 0 };
        // SAFETY: the call changes nothing but what this process may use.
        states >> 17 & 3 == 3 && unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) } == 0
    })
}

/// No other system is asked.
#[cfg(all(target_arch = "x86_64", not(all(target_os = "linux", target_env = "gnu"))))]
fn amx() -> bool {
    false
}

/// `multiversion!(fn name(args) = body)` makes `name(level, args)`, which runs `body::<FMA>(args)` compiled for that level.
/// `body` is `#[inline(always)]`, so that it is compiled anew inside each version; `FMA` says whether a fused multiply-add
/// is one instruction there (otherwise it would be a call into the maths library).
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident : $type:ty),* $(,)?) = $body:ident) => {
        $(#[$meta])*
        #[inline]
        $vis fn $name(level: $crate::dispatch::Level, $($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
            fn avx512($($arg: $type),*) {
                $body::<true>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $type),*) {
                $body::<true>($($arg),*)
            }
            match level.0 {
                // SAFETY: the only thing these functions ask for is that the processor has the instructions they enable,
                // and a level of this kind exists only after looking for exactly those.
                #[cfg(target_arch = "x86_64")]
                $crate::dispatch::Kind::Avx512 | $crate::dispatch::Kind::Amx => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::dispatch::Kind::Avx2 => unsafe { avx2($($arg),*) },
                // Every aarch64 has fused multiply-add, the oldest x86_64 does not.
                $crate::dispatch::Kind::Portable => $body::<{ cfg!(target_arch = "aarch64") }>($($arg),*),
            }
        }
    };
}
pub(crate) use multiversion;
