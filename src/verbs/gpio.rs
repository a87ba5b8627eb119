//! `rejectd gpio`: find the lines, see them move, try the wiring, and let go of them.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::{Configured, GpioLoopback, GpioSet, GpioVerb, GpioWatch};
use crate::config;
use crate::daemon::socket::{SocketError, client_path, has_daemon};
use crate::line::backend::open_outputs;
use crate::line::gpiochip::by_hand::{Loopback, hold, loopback, watch};
use crate::line::gpiochip::{ChipLines, Found, GpioError, find, named_chip, survey};
use crate::line::wiring::LineName;

/// Runs the verb. The exit code is 1 if the loop of a self-test lost a turn.
/// # Errors  `GpioError`: a chip or line that is not there, in use, or forbidden.
pub fn run(verb: &GpioVerb) -> anyhow::Result<ExitCode> {
    match verb {
        GpioVerb::List { chip } => list(chip.as_deref())?,
        GpioVerb::Set(args) => set(args)?,
        GpioVerb::Watch(args) => watch_lines(args)?,
        GpioVerb::Selftest(args) => return Ok(selftest(args)?),
        GpioVerb::Release(args) => release(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(chip: Option<&str>) -> Result<(), GpioError> {
    let chips = survey()?;
    match chip {
        Some(asked) => print!("{}", table(named_chip(&chips, asked)?)),
        None => chips.iter().for_each(|chip| print!("{}", table(chip))),
    }
    Ok(())
}

/// The lines of a chip, each with its name, direction and user.
fn table(chip: &ChipLines) -> String {
    let mut table = format!("{} ({}), {} lines\n", chip.name, chip.label, chip.lines.len());
    for line in &chip.lines {
        let name = if line.name.is_empty() { "-" } else { &line.name };
        let direction = if line.direction == gpiocdev::line::Direction::Output { "output" } else { "input" };
        let user = match (line.used, line.consumer.as_str()) {
            (false, _) => "free".to_owned(),
            (true, "") => "in use by the kernel".to_owned(),
            (true, consumer) => format!("in use by {consumer:?}"),
        };
        let inverted = if line.active_low { ", active low" } else { "" };
        table += &format!("  {:>3}  {name:<24} {direction:<6}  {user}{inverted}\n", line.offset);
    }
    table
}

fn locate(chip: Option<&str>, line: &str) -> Result<Found, GpioError> {
    let line = line.parse().map_or_else(|_| LineName::Name(line.to_owned()), LineName::Number);
    find(&survey()?, chip, &line)
}

fn set(args: &GpioSet) -> anyhow::Result<()> {
    // An output that is left as it was may keep its level.
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, interrupted.clone())?;
    }
    let line = locate(args.chip.as_deref(), &args.line)?;
    let level = if args.low { "low" } else { "high" };
    let then = if args.keep { "let go as it is" } else { "set back and let go" };
    println!("{line} is {level} for {} ms, then {then}", args.ms);
    Ok(hold(&line, !args.low, Duration::from_millis(args.ms), args.keep, &interrupted)?)
}

fn watch_lines(args: &GpioWatch) -> anyhow::Result<()> {
    let lines = args.lines.iter().map(|line| locate(args.chip.as_deref(), line)).collect::<Result<Vec<_>, _>>()?;
    if let Some(other) = lines.iter().find(|line| line.chip != lines[0].chip) {
        anyhow::bail!("{other} and {} are on different chips; watch them one at a time", lines[0]);
    }
    println!("watching {}; Ctrl-C ends", lines.iter().map(Found::to_string).collect::<Vec<_>>().join(", "));
    let (mut count, mut last) = (0, None);
    let silence = args.silence_ms.map(Duration::from_millis);
    watch(&lines, Duration::from_micros(args.debounce_us), silence, |seen| {
        let line = lines.iter().find(|line| line.offset == seen.offset).expect("only these lines are watched");
        let since =
            last.map_or(String::new(), |last| format!(", {:.3} ms later", seen.at.since(last).as_secs_f64() * 1e3));
        let (edge, at) = (if seen.rising { "rising" } else { "falling" }, seen.at.0 as f64 * 1e-9);
        println!("{at:.6}  {line} {edge}{since}");
        last = Some(seen.at);
        count += 1;
        args.edges.is_none_or(|edges| count < edges)
    })?;
    Ok(())
}

fn selftest(args: &GpioLoopback) -> Result<ExitCode, GpioError> {
    let chip = args.chip.as_deref();
    let (output, input) = (locate(chip, &args.output)?, locate(chip, &args.input)?);
    if output.is_same_line(&input) {
        return Err(GpioError::Shared { line: output.to_string(), roles: "output and input".into() });
    }
    println!("{output} is turned {} times, {input} listens", args.turns);
    let result = loopback(&output, &input, args.turns)?;
    println!("{}", verdict(&result, args.turns));
    Ok(if result.lost == 0 { ExitCode::SUCCESS } else { ExitCode::from(super::REJECTED) })
}

fn verdict(Loopback { delays, lost }: &Loopback, turns: usize) -> String {
    let mut sorted = delays.clone();
    sorted.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    match (sorted.get(sorted.len() / 2), sorted.last()) {
        (Some(median), Some(most)) if *lost == 0 => {
            format!(
                "all {turns} turns arrived, the median after {:.3} ms, the last after {:.3} ms",
                ms(*median),
                ms(*most)
            )
        }
        (Some(_), Some(_)) => {
            format!(
                "{lost} of {turns} turns did not arrive; look for a loose wire, or a line that something else drives"
            )
        }
        _ => format!("none of {turns} turns arrived; is the output wired to this input?"),
    }
}

/// Drives all outputs of a configuration inactive and lets go of them: what systemd does after a crash.
fn release(args: &Configured) -> anyhow::Result<()> {
    let settings = config::load(&args.config)?;
    let socket = client_path(&settings, &args.config);
    if has_daemon(&socket)? {
        return Err(SocketError::Taken { path: socket }.into());
    }
    let (outputs, _) = open_outputs(&settings.line.wiring).context("the lines could not be released")?;
    println!("released: {}", outputs.describe());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_judged_by_the_turns_that_arrived() {
        let ms = Duration::from_millis;
        let whole = verdict(&Loopback { delays: vec![ms(3), ms(1), ms(2)], lost: 0 }, 3);
        assert_eq!(whole, "all 3 turns arrived, the median after 2.000 ms, the last after 3.000 ms");
        assert!(verdict(&Loopback { delays: vec![ms(1)], lost: 2 }, 3).starts_with("2 of 3 turns did not arrive"));
        assert!(verdict(&Loopback { delays: vec![], lost: 3 }, 3).starts_with("none of 3 turns arrived"));
    }

    #[test]
    fn the_list_names_line_direction_and_user() {
        let line = |offset, name: &str, consumer: &str| gpiocdev::line::Info {
            offset,
            name: name.into(),
            consumer: consumer.into(),
            used: !consumer.is_empty(),
            ..Default::default()
        };
        let lines = vec![line(0, "", ""), line(1, "GPIO1", "spi0 CS0")];
        let chip = ChipLines { path: "/dev/gpiochip0".into(), name: "gpiochip0".into(), label: "sim".into(), lines };
        let expected = "gpiochip0 (sim), 2 lines\n    0  -                        input   free\n    \
                        1  GPIO1                    input   in use by \"spi0 CS0\"\n";
        assert_eq!(table(&chip), expected);
    }
}
