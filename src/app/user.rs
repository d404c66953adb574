//! `rollcall user`: make, list and disable users, and give them passwords, in the store itself.
//! A running service sees it within a second. Called by main.rs.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};

use super::key::{open_access, operator};
use crate::access::logins::{Change, Logins};
use crate::clock::Clock;
use crate::domain::access::{Role, UserId};
use crate::domain::login::{Login, check_password};
use crate::domain::time::rfc3339;
use crate::settings::Settings;
use crate::store::Store;
use crate::store::audit::AuditEntry;
use crate::store::logins::StoredUser;

/// Users of a list that are read at once.
const PAGE: usize = 1_000;

/// What is to be done with users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make a user; the password is read from standard input, or from a file.
    Create {
        /// What that one signs in as: customer/name, or name for all customers.
        login: Login,
        /// viewer (looks), operator (also keeps the registry) or admin (also keys and users).
        #[arg(long, value_parser = read_role)]
        role: Role,
        /// Where the password comes from.
        #[command(flatten)]
        password: Source,
    },
    /// List the users.
    List {
        /// Only those of this customer.
        #[arg(long)]
        customer: Option<String>,
    },
    /// Let nobody sign in as this one; whoever did is out within a second.
    Disable {
        /// What that one signs in as.
        login: Login,
    },
    /// Give a user another password; all of that one's sessions end within a second.
    Password {
        /// What that one signs in as.
        login: Login,
        /// Where the password comes from.
        #[command(flatten)]
        password: Source,
    },
}

/// Where a password comes from: never the command line, which every process on the machine can read.
#[derive(Debug, Args)]
pub struct Source {
    /// A file whose first line is the password; without it the first line of standard input is.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl Source {
    fn read(&self) -> anyhow::Result<String> {
        let mut line = String::new();
        match &self.password_file {
            Some(path) => {
                let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
                std::io::BufReader::new(file).read_line(&mut line).context("the password cannot be read")?;
            }
            None => drop(std::io::stdin().lock().read_line(&mut line).context("the password cannot be read")?),
        }
        let password = line.trim_end_matches(['\r', '\n']).to_owned();
        check_password(&password).map_err(|problem| anyhow::anyhow!("the password {problem}"))?;
        Ok(password)
    }
}

fn read_role(word: &str) -> Result<Role, String> {
    Role::from_word(word).ok_or_else(|| format!("'{word}' is no role; use viewer, operator or admin"))
}

/// Does it.
///
/// # Errors
/// One sentence: a login that is taken or unknown, a password that is too short, or a store that does not answer.
pub async fn run(settings: &Settings, command: UserCommand) -> anyhow::Result<()> {
    let (store, access, clock) = open_access(settings).await?;
    let logins = Logins::open(&settings.auth, access, Arc::clone(&store) as _).await?;
    let outcome = obey(&logins, &*store, clock, command).await;
    store.close().await;
    outcome
}

async fn obey(logins: &Logins, store: &dyn Store, clock: Clock, command: UserCommand) -> anyhow::Result<()> {
    let (what, user) = match command {
        UserCommand::Create { login, role, password } => {
            let made = logins.create(login.clone(), role, &password.read()?, &operator()).await?;
            let Some(user) = made else { bail!("there is a user '{login}' already; `rollcall user list` shows them") };
            ("user.created", user)
        }
        UserCommand::List { customer } => return list(logins, customer.as_deref()),
        UserCommand::Disable { login } => {
            let change = Change { disabled: Some(true), ..Change::default() };
            ("user.disabled", logins.change(find(logins, &login)?, change, None).await?)
        }
        UserCommand::Password { login, password } => {
            let user = find(logins, &login)?;
            ensure!(user.identity.is_none(), "'{login}' signs in with the identity provider and has no password here");
            let change = Change { password: Some(password.read()?), ..Change::default() };
            ("user.password_changed", logins.change(user, change, None).await?)
        }
    };
    eprintln!("{what}: {}", line(&user));
    let entry = AuditEntry {
        at: clock.today(),
        who: operator(),
        customer: user.login.customer.clone(),
        what: what.to_owned(),
        subject: format!("user {} ({})", user.login, user.role.word()),
        address: String::new(),
        result: "ok".to_owned(),
    };
    store.record(&entry).await.context("it is done, but the audit could not be written")
}

fn find(logins: &Logins, login: &Login) -> anyhow::Result<StoredUser> {
    logins.find_login(login).with_context(|| format!("there is no user '{login}'; `rollcall user list` shows them"))
}

fn list(logins: &Logins, customer: Option<&str>) -> anyhow::Result<()> {
    let fits = |user: &StoredUser| customer.is_none() || user.login.customer.as_deref() == customer;
    let (mut out, mut after): (_, Option<UserId>) = (std::io::stdout().lock(), None);
    loop {
        let page = logins.page(after, PAGE, fits);
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.id);
        for user in &page {
            writeln!(out, "{}", line(user))?;
        }
    }
}

/// One user in a line, its parts apart by tabs.
fn line(user: &StoredUser) -> String {
    let state = user.disabled_at.map_or_else(|| "may sign in".into(), |at| format!("disabled {}", rfc3339(at)));
    [user.login.to_string(), user.role.word().to_owned(), state].join("\t")
}
