//! Does one hot step so many times and nothing else, for scripts/instructions.sh: `hot STEP TIMES`.

#[path = "../benches/micro/cases.rs"]
mod cases;

fn main() -> Result<(), String> {
    let mut arguments = std::env::args().skip(1);
    let (name, times) = (arguments.next().unwrap_or_default(), arguments.next().unwrap_or_default());
    let times: u64 = times.parse().map_err(|_| "usage: hot STEP TIMES".to_owned())?;
    let mut cases = cases::cases();
    let case = cases.iter_mut().find(|(known, _)| *known == name);
    let (_, step) = case.ok_or_else(|| format!("there is no step {name}"))?;
    (0..times).for_each(|_| step());
    Ok(())
}
