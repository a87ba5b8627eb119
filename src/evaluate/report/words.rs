//! Words and figures as the page shows them.

use std::time::Duration;

/// `text` as HTML text or attribute value.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            _ => escaped.push(c),
        }
    }
    escaped
}

/// "1 part", "2 parts".
pub(super) fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// "97.5 %"; never "100.0 %" or "0.0 %" for what is only near it.
pub(super) fn share(count: usize, whole: usize) -> String {
    let percent = 100.0 * count as f64 / whole as f64;
    let shown = if count == 0 || count == whole { percent } else { percent.clamp(0.1, 99.9) };
    if shown.fract() == 0.0 { format!("{shown}\u{a0}%") } else { format!("{shown:.1}\u{a0}%") }
}

/// Milliseconds with about three digits, without the unit.
pub(super) fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    let digits = match ms {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{ms:.digits$}")
}

/// How many decimals show four digits of scores near `threshold`.
pub(super) fn decimals(threshold: f32) -> usize {
    if threshold == 0.0 || !threshold.is_finite() {
        return 4;
    }
    (3 - threshold.abs().log10().floor() as i32).clamp(0, 9) as usize
}

/// A figure in [0, 1] with three digits; never "1.000" for what is only near it.
pub(super) fn chance(figure: f64) -> String {
    let shown = if figure < 1.0 { figure.min(0.9999) } else { figure };
    let digits = if shown > 0.999 && shown < 1.0 { 4 } else { 3 };
    format!("{shown:.digits$}")
}
