//! What the tests of all losses share.

use super::*;

/// (N, D) in f64.
pub fn matrix<const N: usize>(rows: &[[f64; N]]) -> Tensor {
    Tensor::from_iter(rows.iter().flatten().copied(), &Device::Cpu).unwrap().reshape((rows.len(), N)).unwrap()
}

pub fn numbers(terms: &Tensor) -> Vec<f64> {
    terms.to_vec1().unwrap()
}

#[track_caller]
pub fn close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{found:?} for {expected:?}");
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() < 1e-6, "{found:?} for {expected:?}");
    }
}

/// The gradient of `f` at a point agrees with central differences.
#[track_caller]
pub fn gradient_agrees<const N: usize>(f: impl Fn(&Tensor) -> Result<Tensor>, at: &[[f64; N]]) {
    let var = Var::from_tensor(&matrix(at)).unwrap();
    var_gradient_agrees("f", || f(&var), &var);
}

/// As [`gradient_agrees`], for any variable that `f` depends on.
#[track_caller]
pub fn var_gradient_agrees(name: &str, f: impl Fn() -> Result<Tensor>, var: &Var) {
    const STEP: f64 = 1e-6;
    let gradients = f().unwrap().backward().unwrap();
    let gradient = gradients.get(var).unwrap_or_else(|| panic!("{name}: no gradient"));
    let gradient: Vec<f64> = gradient.flatten_all().unwrap().to_vec1().unwrap();
    let point: Vec<f64> = var.flatten_all().unwrap().to_vec1().unwrap();
    let value = |values: Vec<f64>| {
        var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap()).unwrap();
        f().unwrap().to_vec0::<f64>().unwrap()
    };
    for (i, found) in gradient.iter().enumerate() {
        let moved = |by: f64| {
            let mut moved = point.clone();
            moved[i] += by;
            moved
        };
        let expected = (value(moved(STEP)) - value(moved(-STEP))) / (2.0 * STEP);
        let slack = 1e-6 * (1.0 + expected.abs());
        assert!((found - expected).abs() < slack, "{name}: gradient {i} is {found}, differences give {expected}");
    }
    value(point);
}
