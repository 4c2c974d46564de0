//! What a matrix product is added to.

use rayon::prelude::*;

use crate::gemm::Target;

/// Elements that one task prepares.
const TASK: usize = 64 * 1024;

/// What the products are added to; the sum of all that is given.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Onto<'a> {
    /// One number for each row.
    pub(crate) per_row: Option<&'a [f32]>,
    /// One number for each column.
    pub(crate) per_column: Option<&'a [f32]>,
    /// A matrix whose rows are as far apart as those of the result.
    pub(crate) residual: Option<&'a [f32]>,
    /// What the result holds already; instead of a matrix.
    pub(crate) itself: bool,
}

impl Onto<'_> {
    pub(crate) const NOTHING: Self = Self { per_row: None, per_column: None, residual: None, itself: false };
    pub(crate) const ITSELF: Self = Self { itself: true, ..Self::NOTHING };

    /// Panics unless it is as large as `m x n` results.
    pub(crate) fn check(&self, out: Target, [m, n]: [usize; 2]) {
        assert!(self.per_row.is_none_or(|values| values.len() == m));
        assert!(self.per_column.is_none_or(|values| values.len() == n));
        assert!(self.residual.is_none_or(|values| m == 0 || (m - 1) * out.row() + n <= values.len()));
        assert!(!(self.itself && self.residual.is_some()));
    }

    /// Writes it to the result, for products that can only be added to that. False when there is nothing to add to.
    ///
    /// # Safety
    /// The memory behind `out` is alive, and nobody else reads or writes its first `n` columns of `m` rows meanwhile.
    pub(crate) unsafe fn prepare(self, out: Target, [m, n]: [usize; 2]) -> bool {
        self.check(out, [m, n]);
        let Self { per_row, per_column, residual, itself } = self;
        if per_row.is_none() && per_column.is_none() && residual.is_none() {
            return itself;
        }
        let rows = (TASK / n.max(1)).max(1);
        (0..m).into_par_iter().with_min_len(rows).for_each(|row| {
            // SAFETY: the caller's promise; each row belongs to one task.
            let line = unsafe { out.slice(row, n) };
            match residual {
                Some(residual) => line.copy_from_slice(&residual[row * out.row()..][..n]),
                None if itself => {}
                None => line.fill(0.0),
            }
            if let Some(bias) = per_column {
                line.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
            }
            if let Some(bias) = per_row {
                line.iter_mut().for_each(|value| *value += bias[row]);
            }
        });
        true
    }
}
