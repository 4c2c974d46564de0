//! Matrix products in place on strided memory.

use gemm::Parallelism;

use crate::onto::Onto;

/// How many products are summed before the sum goes to memory. Up to here `gemm` sums in one go whatever the size of the
/// rest, so that cutting a longer sum here ourselves makes an element independent of how many rows and columns stand around
/// it.
const DEPTH: usize = 512;

/// Results of up to so many elements `gemm` sums in another order when both factors lie in memory along the sum.
const SMALL: usize = 256;

/// A matrix to read: its values, and how far apart rows and columns are.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) row: usize,
    pub(crate) column: usize,
}

impl<'a> Matrix<'a> {
    /// Rows of `row` values each.
    pub(crate) fn rows(values: &'a [f32], row: usize) -> Self {
        Self { values, row, column: 1 }
    }

    /// The same memory read the other way round: its columns are rows of `column` values each.
    pub(crate) fn transposed(values: &'a [f32], column: usize) -> Self {
        Self { values, row: 1, column }
    }

    /// Panics unless `rows` x `columns` elements lie within the values.
    pub(crate) fn check(&self, rows: usize, columns: usize) {
        assert!(rows == 0 || columns == 0 || (rows - 1) * self.row + (columns - 1) * self.column < self.values.len());
    }
}

/// Rows of a matrix to write, which may be part of a larger one that other threads write at the same time.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    first: *mut f32,
    /// Elements from `first` to the end of the memory.
    len: usize,
    row: usize,
}

// SAFETY: a target is a place, not an access; who writes through it promises to be the only one (see `multiply_into`).
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    /// All of `values`, in rows of `row`.
    pub(crate) fn new(values: &mut [f32], row: usize) -> Self {
        Self { first: values.as_mut_ptr(), len: values.len(), row }
    }

    /// Where it begins.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn first(self) -> *mut f32 {
        self.first
    }

    /// Panics unless `rows` of `columns` elements lie within the memory and beside each other.
    pub(crate) fn check(self, rows: usize, columns: usize) {
        assert!((rows - 1) * self.row + columns <= self.len && (rows == 1 || columns <= self.row));
    }

    /// Elements from one row to the next.
    pub(crate) fn row(self) -> usize {
        self.row
    }

    /// The part that begins `offset` elements further on.
    pub(crate) fn at(self, offset: usize) -> Self {
        assert!(offset <= self.len);
        // SAFETY: within the memory, or one past its end.
        Self { first: unsafe { self.first.add(offset) }, len: self.len - offset, row: self.row }
    }

    /// Columns `0..columns` of row `row`.
    ///
    /// # Safety
    /// The memory is alive, and nobody else reads or writes these elements as long as the slice is used.
    pub(crate) unsafe fn slice<'a>(self, row: usize, columns: usize) -> &'a mut [f32] {
        assert!(row * self.row + columns <= self.len);
        // SAFETY: within the memory by the assertion; alive and unshared by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(row * self.row), columns) }
    }
}

/// `out = onto + a * b`: `a (m, k)`, `b (k, n)`, `size` = `[m, n, k]`. An element comes out the same to the bit whatever the number
/// of rows, columns and threads.
///
/// # Safety
/// The memory behind `out` is alive, and nobody else reads or writes its first `n` columns of `m` rows meanwhile.
pub(crate) unsafe fn multiply_into(
    out: Target,
    onto: Onto<'_>,
    a: Matrix<'_>,
    b: Matrix<'_>,
    size: [usize; 3],
    parallelism: Parallelism,
) {
    let [m, n, _] = size;
    #[cfg(target_arch = "x86_64")]
    {
        let level = crate::dispatch::Level::best();
        if crate::panel::takes(level, a, b, size) {
            let parallel = !matches!(parallelism, Parallelism::None);
            // SAFETY: the caller's promise.
            return unsafe { crate::panel::multiply(level, (out, onto), a, b, size, parallel) };
        }
    }
    // SAFETY: the caller's promise.
    unsafe {
        let add = onto.prepare(out, [m, n]);
        add_into(out, add, a, b, size, parallelism);
    }
}

/// `out = a * b`, or `out += a * b` with `add`, by way of `gemm`.
///
/// # Safety
/// As above.
unsafe fn add_into(out: Target, add: bool, a: Matrix<'_>, b: Matrix<'_>, size: [usize; 3], parallelism: Parallelism) {
    let [m, n, k] = size;
    if m == 1 || n == 1 {
        // `gemm` has another order of summing for vectors. With the vector read twice, it is none.
        let (a, b) =
            (if m == 1 { Matrix { row: 0, ..a } } else { a }, if n == 1 { Matrix { column: 0, ..b } } else { b });
        let (rows, columns) = (m.max(2), n.max(2));
        let mut twice = vec![0f32; rows * columns];
        for (row, twice) in twice.chunks_exact_mut(columns).enumerate() {
            if add {
                // SAFETY: `out` is ours alone by the caller's promise.
                twice[..n].copy_from_slice(unsafe { out.slice(row.min(m - 1), n) });
            }
        }
        multiply(&mut twice, columns, add, a, b, [rows, columns, k]);
        for (row, twice) in twice.chunks_exact(columns).enumerate().take(m) {
            // SAFETY: as above.
            unsafe { out.slice(row, n) }.copy_from_slice(&twice[..n]);
        }
        return;
    }
    if m * n <= SMALL && a.column == 1 && b.row == 1 {
        b.check(k, n);
        let across: Vec<f32> = (0..k).flat_map(|i| (0..n).map(move |j| b.values[i + j * b.column])).collect();
        // SAFETY: the caller's promise.
        unsafe { sum_into(out, add, a, Matrix::rows(&across, n), size, parallelism) }
    } else {
        // SAFETY: the caller's promise.
        unsafe { sum_into(out, add, a, b, size, parallelism) }
    }
}

/// The same for matrices that `gemm` knows no short cut for.
///
/// # Safety
/// As above.
unsafe fn sum_into(
    out: Target,
    add: bool,
    a: Matrix<'_>,
    b: Matrix<'_>,
    [m, n, k]: [usize; 3],
    parallelism: Parallelism,
) {
    if m == 0 || n == 0 {
        return;
    }
    a.check(m, k);
    b.check(k, n);
    out.check(m, n);
    for start in (0..k.max(1)).step_by(DEPTH) {
        let depth = DEPTH.min(k - start);
        // SAFETY: the extents of `a`, `b` and `out` were compared with their memory above, `out` is ours alone by the
        // caller's promise, and it cannot overlap `a` and `b`, which are borrowed as shared slices.
        unsafe {
            gemm::gemm(
                m,
                n,
                depth,
                out.first,
                1,
                out.row as isize,
                add || start > 0,
                a.values.as_ptr().add(start * a.column),
                a.column as isize,
                a.row as isize,
                b.values.as_ptr().add(start * b.row),
                b.column as isize,
                b.row as isize,
                1.0,
                1.0,
                false,
                false,
                false,
                parallelism,
            );
        }
    }
}

/// `out = a * b`, or `out += a * b` with `add`, on one thread; the rows of `out` are `row` apart.
pub(crate) fn multiply(out: &mut [f32], row: usize, add: bool, a: Matrix<'_>, b: Matrix<'_>, size: [usize; 3]) {
    let out = Target::new(out, row);
    let onto = if add { Onto::ITSELF } else { Onto::NOTHING };
    // SAFETY: the memory is borrowed mutably for the whole call.
    unsafe { multiply_into(out, onto, a, b, size, Parallelism::None) }
}

/// All threads of the pool we are in, be it one: `None` says that a product is part of a thread's task, and that what it reads
/// was gathered for it.
pub(crate) fn all_threads() -> Parallelism {
    Parallelism::Rayon(rayon::current_num_threads())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_does_not_depend_on_its_neighbours() {
        let (rows, columns, depth) = (70, 150, 1300);
        let values =
            |len: usize| -> Vec<f32> { (0..len).map(|at| ((at * 7919) % 1009) as f32 / 504.0 - 1.0).collect() };
        let (a, b, start) = (values(rows * depth), values(depth * columns), values(rows * columns));
        for (b, add) in [(Matrix::rows(&b, columns), false), (Matrix::transposed(&b, depth), true)] {
            let product = |m: usize, n: usize| {
                let mut out: Vec<f32> = start.chunks(columns).take(m).flat_map(|row| row[..n].to_vec()).collect();
                multiply(&mut out, n, add, Matrix::rows(&a, depth), b, [m, n, depth]);
                out
            };
            let whole = product(rows, columns);
            let parts = [(70, 64), (33, 17), (5, 150), (64, 64), (65, 63), (16, 16), (3, 5), (1, 150), (70, 1), (1, 1)];
            for (m, n) in parts {
                for (at, row) in product(m, n).chunks(n).enumerate() {
                    assert_eq!(row, &whole[at * columns..][..n], "row {at} of {m} x {n}");
                }
            }
        }
    }

    #[test]
    fn what_is_added_is_the_same_by_either_way() {
        let (m, n, k) = (37, 75, 700);
        let values = |seed: usize, len: usize| -> Vec<f32> {
            (0..len).map(|at| ((at * 7919 + seed) % 1009) as f32 / 504.0 - 1.0).collect()
        };
        let (a, b) = (values(1, m * k), values(2, k * n));
        let (rows, columns, residual) = (values(3, m), values(4, n), values(5, m * n));
        let size = [m, n, k];
        for case in 0..16 {
            let onto = Onto {
                per_row: (case & 1 > 0).then_some(&rows[..]),
                per_column: (case & 2 > 0).then_some(&columns[..]),
                residual: (case & 12 == 4).then_some(&residual[..]),
                itself: case & 12 == 8,
            };
            let (a, b) = (Matrix::rows(&a, k), Matrix::rows(&b, n));
            let [mut one, mut other] = [values(6, m * n), values(6, m * n)];
            // SAFETY: the memory is borrowed mutably for the calls.
            unsafe {
                multiply_into(Target::new(&mut one, n), onto, a, b, size, Parallelism::None);
                let other = Target::new(&mut other, n);
                let add = onto.prepare(other, [m, n]);
                add_into(other, add, a, b, size, Parallelism::None);
            }
            assert!(one.iter().zip(&other).all(|(one, other)| (one - other).abs() < 1e-3), "{onto:?}");
        }
    }

    #[test]
    #[should_panic(expected = "assertion failed")]
    fn memory_that_is_too_short_is_noticed() {
        multiply(&mut [0.0; 6], 3, false, Matrix::rows(&[0.0; 7], 4), Matrix::rows(&[0.0; 12], 3), [2, 3, 4]);
    }
}
