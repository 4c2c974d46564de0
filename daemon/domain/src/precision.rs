//! In which numbers a network keeps its weights and multiplies.

use crate::{Error, Reason};

/// A precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 32-bit floating point, as the reference computes.
    #[default]
    F32,
    /// 8-bit integers: one scale for each output channel of the weights and for each token or pixel of the activations.
    Int8,
    /// Weights in 8 bits with a scale for each 32 of them, activations the same.
    Q8_0,
    /// Weights in 4 bits with scales and minima for each 32 of them, themselves rounded for each 256; activations as `Q8_0`.
    Q4K,
}

/// The three networks of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// Qwen3-VL.
    Encoder,
    /// The denoiser.
    Unet,
    /// The tiny VAE.
    Vae,
}

/// The precision of each network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Precisions {
    /// Of the encoder.
    pub encoder: Precision,
    /// Of the denoiser.
    pub unet: Precision,
    /// Of the VAE.
    pub vae: Precision,
}

impl Precision {
    /// Bytes of memory for each weight, scales included.
    pub fn bytes_per_weight(self) -> f64 {
        match self {
            Self::F32 => 4.0,
            Self::Int8 => 1.0,
            Self::Q8_0 => 34.0 / 32.0,
            Self::Q4K => 144.0 / 256.0,
        }
    }

    /// As settings and messages write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Int8 => "int8",
            Self::Q8_0 => "q8_0",
            Self::Q4K => "q4k",
        }
    }
}

impl Network {
    /// Those that it can have, the default first.
    pub fn allowed(self) -> &'static [Precision] {
        match self {
            Self::Encoder => &[Precision::F32, Precision::Q8_0, Precision::Q4K, Precision::Int8],
            Self::Unet | Self::Vae => &[Precision::F32, Precision::Int8],
        }
    }

    /// As settings and folders of checkpoints call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Encoder => "text_encoder",
            Self::Unet => "unet",
            Self::Vae => "vae",
        }
    }

    /// The precision of that name. Fails with `InvalidRequest` and the names that there are.
    pub fn precision(self, name: &str) -> Result<Precision, Error> {
        self.allowed().iter().copied().find(|precision| precision.name() == name).ok_or_else(|| {
            let names: Vec<_> = self.allowed().iter().map(|precision| precision.name()).collect();
            let what = format!("{name:?} is no precision of {}, there are {}", self.name(), names.join(", "));
            Error::new(Reason::InvalidRequest, what)
        })
    }
}

impl Precisions {
    /// That of one network.
    pub fn of(self, network: Network) -> Precision {
        match network {
            Network::Encoder => self.encoder,
            Network::Unet => self.unet,
            Network::Vae => self.vae,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_allowed_name_is_read_and_others_are_told_which_there_are() {
        for network in [Network::Encoder, Network::Unet, Network::Vae] {
            for precision in network.allowed() {
                assert_eq!(network.precision(precision.name()), Ok(*precision));
            }
            assert_eq!(network.allowed()[0], Precision::default());
        }
        let error = Network::Unet.precision("q4k").expect_err("block formats are for the encoder");
        assert_eq!(error.reason, Reason::InvalidRequest);
        assert_eq!(error.to_string(), "\"q4k\" is no precision of unet, there are f32, int8");
    }
}
