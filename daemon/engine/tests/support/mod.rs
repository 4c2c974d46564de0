//! The golden harness: finds the reference folder, reads its manifest, runs every case of a kind and compares what comes
//! out at the tolerance that the manifest states. Nothing here knows a case by name, so that another folder of the same
//! layout can take its place.
//!
//! The folder is `EASEL_REFERENCE`, else `../shared/reference` beside the workspace, else `tests/goldens` in the tree.
#![allow(dead_code, unreachable_pub, clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use easel_engine::ops::plainly;
use serde::Deserialize;
use serde_json::Value;

/// What a test body returns.
pub type Outcome = Result<(), Box<dyn Error>>;

/// The reference folder and what its manifest says.
pub struct Reference {
    pub root: PathBuf,
    manifest: Manifest,
}

#[derive(Deserialize)]
struct Manifest {
    cases: Vec<Case>,
    #[serde(default)]
    json_files: Vec<String>,
}

/// One entry of the manifest.
#[derive(Deserialize)]
pub struct Case {
    #[serde(rename = "case")]
    pub name: String,
    pub kind: String,
    pub checkpoint: Option<String>,
    pub file: String,
    #[serde(default)]
    pub inputs: Value,
    pub tensors: BTreeMap<String, TensorInfo>,
}

/// What the manifest says of a tensor.
#[derive(Deserialize)]
pub struct TensorInfo {
    pub shape: Vec<usize>,
    pub dtype: String,
    pub tol_abs: Option<f64>,
}

impl Reference {
    /// Opens the reference folder; panics when there is none, because then nothing would be tested.
    pub fn open() -> Self {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let named = std::env::var_os("EASEL_REFERENCE").map(PathBuf::from);
        let candidates = [workspace.join("../shared/reference"), workspace.join("tests/goldens")];
        let root = named.or_else(|| candidates.iter().find(|c| c.join("goldens/manifest.json").is_file()).cloned());
        let root = root.expect("a reference folder: set EASEL_REFERENCE or keep tests/goldens");
        let path = root.join("goldens/manifest.json");
        let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let manifest = serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self { root, manifest }
    }

    /// The cases of a manifest in the tree, which need no other folder.
    pub fn in_tree(manifest: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens");
        let path = root.join(manifest);
        let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let manifest = serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self { root, manifest }
    }

    /// The folder of a checkpoint.
    pub fn checkpoint(&self, name: &str) -> PathBuf {
        self.root.join("checkpoints").join(name)
    }

    /// A path below `goldens/`.
    pub fn golden(&self, relative: &str) -> PathBuf {
        self.root.join("goldens").join(relative)
    }

    /// All cases of a kind.
    pub fn cases(&self, kind: &str) -> Vec<&Case> {
        self.manifest.cases.iter().filter(|case| case.kind == kind).collect()
    }

    /// Number of cases of all kinds.
    pub fn len(&self) -> usize {
        self.manifest.cases.len()
    }

    /// The JSON files (relative to `goldens/`) whose path satisfies `wanted`, parsed.
    pub fn json_files(&self, wanted: impl Fn(&str) -> bool) -> Vec<(String, Value)> {
        let names = self.manifest.json_files.iter().filter(|name| wanted(name));
        names.map(|name| (name.clone(), self.json(name))).collect()
    }

    fn json(&self, name: &str) -> Value {
        let path = self.golden(name);
        let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }
}

/// Runs `body` on every case of a kind. A kind that the folder lacks is reported as absent. Every tensor of a case has to be
/// used as an input, checked, or left out by name with a reason; all failures of all cases are reported together.
pub fn run_kind(kind: &str, body: impl Fn(&Reference, &mut Check<'_>) -> Outcome) {
    run_kind_of(&Reference::open(), kind, body);
}

/// The same for a reference that is open.
pub fn run_kind_of(reference: &Reference, kind: &str, body: impl Fn(&Reference, &mut Check<'_>) -> Outcome) {
    assert!(reference.len() > 0, "the manifest of {} has no cases at all", reference.root.display());
    let cases = reference.cases(kind);
    if cases.is_empty() {
        println!("golden kind {kind} is absent from {}", reference.root.display());
        return;
    }
    let mut failures = Vec::new();
    for case in &cases {
        for way in ["fused", "plain"] {
            let mut check = Check::new(reference, case, way);
            let outcome = match way {
                "plain" => plainly(|| body(reference, &mut check)),
                _ => body(reference, &mut check),
            };
            match outcome {
                Ok(()) => failures.extend(check.finish()),
                Err(error) => {
                    check.fail(error.to_string());
                    failures.append(&mut check.failures);
                }
            }
        }
    }
    println!("{kind}: {} cases of {}, each with the fused kernels and without", cases.len(), reference.root.display());
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// The tensors of one case and what came of comparing with them.
pub struct Check<'a> {
    pub case: &'a Case,
    pub label: String,
    tensors: HashMap<String, Tensor>,
    used: BTreeSet<String>,
    failures: Vec<String>,
    worst: Option<(f64, String)>,
}

impl<'a> Check<'a> {
    fn new(reference: &Reference, case: &'a Case, way: &str) -> Self {
        let path = reference.golden(&case.file);
        let tensors =
            candle_core::safetensors::load(&path, &Device::Cpu).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let label = format!("{way}: {}/{}/{}", case.checkpoint.as_deref().unwrap_or("common"), case.kind, case.name);
        Self { case, label, tensors, used: BTreeSet::new(), failures: Vec::new(), worst: None }
    }

    /// The folder of the case's checkpoint.
    pub fn checkpoint(&self, reference: &Reference) -> PathBuf {
        reference.checkpoint(self.case.checkpoint.as_deref().expect("the case names a checkpoint"))
    }

    /// Names of all tensors of the case, sorted.
    pub fn keys(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// True when the case has this tensor.
    pub fn has(&self, key: &str) -> bool {
        self.tensors.contains_key(key)
    }

    /// A tensor that the computation reads.
    pub fn input(&mut self, key: &str) -> Result<Tensor, String> {
        self.used.insert(key.to_owned());
        self.tensors.get(key).cloned().ok_or_else(|| format!("the case has no tensor {key}"))
    }

    /// Leaves a tensor out of the comparison, with the reason.
    pub fn leave_out(&mut self, key: &str, why: &str) {
        println!("  {}: {key} left out: {why}", self.label);
        self.used.insert(key.to_owned());
    }

    /// Compares f32 values at the manifest's `tol_abs`.
    pub fn close(&mut self, key: &str, got: &Tensor) {
        let Some(tolerance) = self.case.tensors.get(key).and_then(|info| info.tol_abs) else {
            self.fail(format!("{key} has no tolerance in the manifest"));
            return;
        };
        self.close_within(key, got, tolerance);
    }

    /// Compares f32 values at a tolerance that the manifest does not carry; say at the call where it comes from.
    pub fn close_within(&mut self, key: &str, got: &Tensor, tolerance: f64) {
        let want = match self.input(key) {
            Ok(want) => want,
            Err(what) => return self.fail(what),
        };
        if want.dims() != got.dims() {
            return self.fail(format!("{key}: shape {:?}, expected {:?}", got.dims(), want.dims()));
        }
        let (want, got) = (floats(&want), floats(got));
        let error = want.iter().zip(&got).map(|(w, g)| difference(*w, *g)).fold(0.0, f64::max);
        self.note(key, error, tolerance);
        if error > tolerance {
            self.fail(format!("{key}: error {error:.3e} above tolerance {tolerance:.3e}"));
        }
    }

    /// Compares integers, which have to be equal.
    pub fn equal(&mut self, key: &str, got: &[i64]) {
        let want = match self.input(key) {
            Ok(want) => want,
            Err(what) => return self.fail(what),
        };
        let want = integers(&want);
        if want != got {
            let at = want.iter().zip(got).position(|(w, g)| w != g);
            self.fail(format!("{key}: {} values, expected {}; first difference at {at:?}", got.len(), want.len()));
        }
    }

    /// Compares a picture (bytes of `H,W,3`): every value within 1 and at most 1 % of them different.
    pub fn picture(&mut self, key: &str, shape: [usize; 3], got: &[u8]) {
        let want = match self.input(key) {
            Ok(want) => want,
            Err(what) => return self.fail(what),
        };
        if want.dims() != shape {
            return self.fail(format!("{key}: picture of shape {shape:?}, expected {:?}", want.dims()));
        }
        let want = integers(&want);
        let apart = want.iter().zip(got).map(|(w, g)| (w - i64::from(*g)).abs());
        let (most, differing) = apart.fold((0, 0usize), |(m, n), d| (m.max(d), n + usize::from(d > 0)));
        let share = differing as f64 / want.len() as f64;
        println!("  {}: {key} differs by at most {most} on {:.4} % of the values", self.label, share * 100.0);
        if got.len() != want.len() || most > 1 || share > 0.01 {
            self.fail(format!("{key}: picture differs by up to {most}, {:.3} % of the values", share * 100.0));
        }
    }

    /// Records a failure of the case.
    pub fn fail(&mut self, what: impl Into<String>) {
        let what = format!("{}: {}", self.label, what.into());
        println!("  FAILED {what}");
        self.failures.push(what);
    }

    fn note(&mut self, key: &str, error: f64, tolerance: f64) {
        let share = if tolerance > 0.0 { error / tolerance } else { error };
        if self.worst.as_ref().is_none_or(|(most, _)| share > *most) {
            self.worst = Some((share, format!("{key}: error {error:.2e}, tolerance {tolerance:.2e}")));
        }
    }

    fn finish(mut self) -> Vec<String> {
        let left: Vec<_> = self.keys().into_iter().filter(|key| !self.used.contains(key)).collect();
        if !left.is_empty() {
            self.fail(format!("never compared: {}", left.join(", ")));
        }
        match &self.worst {
            Some((share, text)) => println!(
                "{}: {} tensors, closest to its bound ({share:.2} of it) is {text}",
                self.label,
                self.used.len()
            ),
            None => println!("{}: {} tensors", self.label, self.used.len()),
        }
        self.failures
    }
}

/// All values as f64, in row-major order.
pub fn floats(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.flatten_all().and_then(|t| t.to_dtype(DType::F64)).and_then(|t| t.to_vec1());
    flat.expect("a tensor on the processor")
}

/// All values as i64, in row-major order.
pub fn integers(tensor: &Tensor) -> Vec<i64> {
    let flat = tensor.flatten_all().and_then(|t| t.to_dtype(DType::I64)).and_then(|t| t.to_vec1());
    flat.expect("a tensor on the processor")
}

/// Distance of two values; infinite when one of them is not a number.
fn difference(want: f64, got: f64) -> f64 {
    if want.is_finite() && got.is_finite() { (want - got).abs() } else { f64::INFINITY }
}
