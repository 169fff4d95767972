//! What a program's command line is turned into besides itself: a man page, and completions for shells. They are made
//! by the program from the definition that it parses with, when it is installed (`ddb-cat --generate man`), so nothing
//! is said twice.
//!
//! The page of `migrate`, which is a script, is in `scripts/man`; it takes its exit codes from here.

use std::ffi::OsString;
use std::io::{self, Write as _};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::{Man, roff};
use fault::{Exit, Failure, Fault, PipeError, Problem};
use roff::{Roff, bold, roman};

const FLAG: &str = "--generate";

/// The programs, in the order of the pipeline; each page names the others.
const PROGRAMS: [&str; 10] = [
    "migrate",
    "ddb-list",
    "ddb-cat",
    "ddb-infer",
    "ddb-parse",
    "pg-upsert",
    "pg-verify",
    "migrate-rejects",
    "migrate-check",
    "migrate-monitor",
];

/// What the exit codes mean, in the README's words.
const EXITS: [(&str, &str); 8] = [
    ("0", "all is well"),
    (
        "1",
        "finished, but records were rejected or suppressed, or files failed; of a verification: rows are missing or differ",
    ),
    ("2", "the command line, a setting or the profile is wrong"),
    ("65", "the input is not what it should be"),
    ("69", "a service could not be reached, retries included"),
    ("74", "reading or writing failed on this machine"),
    ("75", "stopped; the same command goes on from here"),
    ("128+n", "ended by signal n"),
];

/// What is to be made, if the command line asks for that: its first argument is `--generate`.
pub(crate) fn asked(mut arguments: impl Iterator<Item = OsString>) -> Option<OsString> {
    (arguments.nth(1)? == FLAG).then(|| arguments.next().unwrap_or_default())
}

/// Writes it to stdout.
pub(crate) fn generate(command: Command, what: &OsString) -> Result<Exit, Failure> {
    let text = match what.to_str() {
        Some("man") => page(command).map_err(PipeError::writing)?,
        Some("bash") => completion(command, Shell::Bash),
        Some("zsh") => completion(command, Shell::Zsh),
        Some("fish") => completion(command, Shell::Fish),
        _ => {
            return Err(Problem::new(Fault::Setup, format!("`{FLAG}` makes man, bash, zsh or fish")).into());
        }
    };
    let mut stdout = io::stdout().lock();
    stdout.write_all(&text).and_then(|()| stdout.flush()).map_err(PipeError::writing)?;
    Ok(Exit::Done)
}

fn completion(mut command: Command, shell: Shell) -> Vec<u8> {
    let (name, mut text) = (command.get_name().to_owned(), Vec::new());
    clap_complete::generate(shell, &mut command, name, &mut text);
    text
}

/// The man page, in roff.
fn page(mut command: Command) -> io::Result<Vec<u8>> {
    command.build();
    let name = command.get_name().to_owned();
    let usage = command.render_usage().to_string().replacen("Usage: ", "", 1);
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let commands = command.get_subcommands().filter(|it| it.get_name() != "help").cloned().collect::<Vec<_>>();
    let version = command.get_version().unwrap_or_default().to_owned();
    let man = Man::new(command.override_usage(usage))
        .title(name.to_uppercase())
        .date(day_of(&version))
        .source(format!("ddb-pipe {}", version.split(' ').next().unwrap_or_default()))
        .manual("User Commands");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    // Hyphenation and justified lines only make names and options hard to read and to copy.
    Roff::new().control("nh", []).control("ad", ["l"]).to_writer(&mut text)?;
    man.render_name_section(&mut text)?;
    let mut body = Vec::new();
    man.render_synopsis_section(&mut body)?;
    man.render_description_section(&mut body)?;
    if !commands.is_empty() {
        Roff::new().control("SH", ["COMMANDS"]).to_writer(&mut body)?;
    }
    for command in commands {
        subcommand(command, &mut body)?;
    }
    body.extend(subsections(options(&man)?));
    text.extend(emphasized(&String::from_utf8_lossy(&body)).into_bytes());
    let mut rest = Roff::new();
    exits(&mut rest);
    show(&mut rest, &examples);
    see_also(&mut rest, &name);
    rest.to_writer(&mut text)?;
    Ok(text)
}

/// The day of the commit in a version, `0.1.0 (6552fbc 2026-11-24)`; without one an empty argument, as roff writes it.
fn day_of(version: &str) -> &str {
    version.strip_suffix(')').and_then(|version| version.rsplit(' ').next()).unwrap_or("\"\"")
}

fn subcommand(command: Command, text: &mut Vec<u8>) -> io::Result<()> {
    let heading = command.get_name().to_owned();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    Roff::new().control("SS", [heading.as_str()]).text([roman(about)]).to_writer(text)?;
    // Its options stand under its name, whatever groups they have in its help.
    let lines = options(&Man::new(command.mut_args(|arg| arg.help_heading(None))))?;
    text.extend(lines.into_iter().filter(|line| !line.starts_with(".SH")).flat_map(|line| (line + "\n").into_bytes()));
    Ok(())
}

fn options(man: &Man) -> io::Result<Vec<String>> {
    let mut text = Vec::new();
    man.render_options_section(&mut text)?;
    let mut lines = String::from_utf8_lossy(&text).lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
    // An empty line is break enough.
    lines.retain(|line| line != ".br");
    lines.dedup_by(|line, before| line.is_empty() && before.is_empty());
    Ok(lines)
}

/// Groups of options as parts of one section.
fn subsections(lines: Vec<String>) -> Vec<u8> {
    let mut text = String::new();
    for line in lines {
        match line.strip_prefix(".SH ") {
            Some("OPTIONS") | None => text.extend([line.as_str(), "\n"]),
            Some(group) => text.extend([".SS ", &capitalized(group), "\n"]),
        }
    }
    text.into_bytes()
}

/// `"LOG OPTIONS"` as `"Log options"`.
fn capitalized(heading: &str) -> String {
    let mut first = true;
    let lower = |letter: char| {
        let keep = first && letter.is_alphabetic();
        first = first && !keep;
        if keep { letter } else { letter.to_ascii_lowercase() }
    };
    heading.chars().map(lower).collect()
}

/// What stands in backquotes in bold: to roff a backquote is a quotation mark.
fn emphasized(text: &str) -> String {
    let line = |line: &str| {
        let parts = line.split('`').collect::<Vec<_>>();
        if parts.len() % 2 == 0 {
            return line.to_owned();
        }
        let quoted =
            |(place, part): (usize, &&str)| if place % 2 == 1 { format!("\\fB{part}\\fR") } else { (*part).to_owned() };
        parts.iter().enumerate().map(quoted).collect()
    };
    text.lines().map(|it| line(it) + "\n").collect()
}

fn exits(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXITS {
        roff.control("TP", []).text([bold(code)]).text([roman(meaning)]);
    }
}

/// The examples of the help, line by line, and what is said after them.
fn show(roff: &mut Roff, examples: &str) {
    let (examples, notes) = examples.split_once("\n\n").unwrap_or((examples, ""));
    let mut lines = examples.lines();
    roff.control("SH", ["EXAMPLES"]);
    if let Some((_, of_what)) = lines.next().and_then(|heading| heading.trim_end_matches(':').split_once(", ")) {
        roff.text([roman(format!("{of_what}:"))]).control("PP", []);
    }
    roff.control("nf", []);
    for line in lines {
        roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
    }
    roff.control("fi", []);
    if !notes.is_empty() {
        roff.control("SH", ["NOTES"]);
    }
    for line in notes.lines() {
        roff.text([roman(line)]);
    }
}

fn see_also(roff: &mut Roff, name: &str) {
    roff.control("SH", ["SEE ALSO"]);
    let others = PROGRAMS.iter().filter(|other| **other != name).collect::<Vec<_>>();
    let last = others.len();
    for (place, other) in others.into_iter().enumerate() {
        roff.text([bold(*other), roman(if place + 1 == last { "(1)" } else { "(1)," })]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program with everything that a page has a place for.
    fn command() -> Command {
        use clap::Arg;
        Command::new("ddb-cat")
            .version("0.1.0 (6552fbc 2026-11-24)")
            .about("Write records")
            .arg(Arg::new("file").value_name("FILE").help("`s3://BUCKET/KEY` or a path"))
            .arg(Arg::new("skip").long("skip").value_name("N").help("Leave out N").help_heading("Selection"))
            .after_help("Examples:\n  ddb-cat x | head -3     look at it\n  .hidden 'x'\n\nWhere it is: there.")
    }

    fn man(command: Command) -> String {
        String::from_utf8(page(command).unwrap()).unwrap()
    }

    #[test]
    fn it_is_asked_for_by_the_first_argument_alone() {
        let of = |arguments: &[&str]| asked(arguments.iter().map(OsString::from));
        assert_eq!(of(&["ddb-cat", "--generate", "man"]), Some("man".into()));
        assert_eq!(of(&["ddb-cat", "--generate"]), Some("".into()));
        assert_eq!(of(&["ddb-cat", "x", "--generate", "man"]), None);
        assert_eq!(of(&["ddb-cat"]), None);
    }

    #[test]
    fn a_page_has_the_sections_that_pages_have_in_their_order() {
        let page = man(command());
        let sections = page.lines().filter(|line| line.starts_with(".S")).collect::<Vec<_>>();
        assert_eq!(
            sections,
            [
                ".SH NAME",
                ".SH SYNOPSIS",
                ".SH DESCRIPTION",
                ".SH OPTIONS",
                ".SS Selection",
                ".SH \"EXIT STATUS\"",
                ".SH EXAMPLES",
                ".SH NOTES",
                ".SH \"SEE ALSO\"",
            ]
        );
        assert!(page.contains("\\fBddb\\-cat\\fR [OPTIONS] [FILE]"), "{page}");
        assert!(page.contains("\\fBs3://BUCKET/KEY\\fR or a path"), "{page}");
    }

    #[test]
    fn the_title_has_the_day_of_the_commit_if_it_is_known() {
        let title = |page: String| page.lines().find(|line| line.starts_with(".TH")).map(str::to_owned).unwrap();
        assert_eq!(title(man(command())), r#".TH DDB-CAT 1 2026-11-24 "ddb-pipe 0.1.0" "User Commands""#);
        assert_eq!(title(man(command().version("0.1.0"))), r#".TH DDB-CAT 1 "" "ddb-pipe 0.1.0" "User Commands""#);
    }

    #[test]
    fn a_line_of_an_example_is_never_taken_for_roff() {
        let page = man(command());
        assert!(page.contains("\nddb\\-cat x | head \\-3     look at it\n"), "{page}");
        assert!(page.contains("\n\\&.hidden \\*(Aqx\\*(Aq\n"), "{page}");
    }

    #[test]
    fn what_a_subcommand_takes_stands_under_its_name() {
        let count =
            Command::new("count").about("Count them").arg(clap::Arg::new("file").value_name("FILE").help("The file"));
        let page = man(command().subcommand(count));
        let (_, commands) = page.split_once(".SH COMMANDS\n").unwrap();
        let (commands, _) = commands.split_once(".SH ").unwrap();
        assert!(commands.contains(".SS count\n") && commands.contains("Count them\n"), "{commands}");
        assert!(commands.contains("The file\n"), "{commands}");
    }

    #[test]
    fn the_exit_codes_are_those_of_the_readme() {
        let readme = include_str!("../../../README.md");
        for (code, meaning) in EXITS {
            assert!(readme.contains(&format!("| {code} | {meaning} |\n")), "{code}");
        }
    }

    #[test]
    fn every_shell_completes_an_option() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = String::from_utf8(completion(command(), shell)).unwrap();
            assert!(text.contains("skip"), "{shell}");
        }
    }
}
