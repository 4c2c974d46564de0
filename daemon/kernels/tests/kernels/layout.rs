//! Channels-first to tokens and back.

use easel_kernels::{to_channels, to_tokens, transpose_slice};
use proptest::prelude::*;

use crate::common::{self, bits, read, tensor, values};

proptest! {
    #![proptest_config(common::cases(24))]

    #[test]
    fn every_element_finds_its_place(batch in 1usize..3, rows in 1usize..300, columns in 1usize..300, seed: u64) {
        let x = values(seed, batch * rows * columns);
        let mut got = vec![f32::NAN; x.len()];
        transpose_slice(&x, [rows, columns], &mut got);
        for (at, x) in x.iter().enumerate() {
            let (sample, row, column) = (at / columns / rows, at / columns % rows, at % columns);
            prop_assert_eq!(got[(sample * columns + column) * rows + row].to_bits(), x.to_bits());
        }
    }
}

#[test]
fn large_pictures_take_several_tasks() {
    let x = tensor(&values(1, 70 * 61 * 67), &[1, 70, 61, 67]);
    let tokens = to_tokens(&x).unwrap();
    let plain = x.flatten_from(2).unwrap().transpose(1, 2).unwrap().contiguous().unwrap();
    assert_eq!((tokens.dims(), bits(&read(&tokens))), (plain.dims(), bits(&read(&plain))));
    let back = to_channels(&tokens, 61, 67).unwrap();
    assert_eq!((back.dims(), bits(&read(&back))), (x.dims(), bits(&read(&x))));
    let error = to_channels(&tokens, 61, 66).unwrap_err().to_string();
    assert!(error.contains("61 x 66") && error.contains("[1, 4087, 70]"), "{error}");
}
