//! The program: crypto provider, arguments, logging, one command, exit status. All else is in the library.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use mailroster::cli::{self, Arguments, Failure, Outcome};

/// glibc's own spent a fifth of the controller's processor time on merging and splitting chunks; this one keeps more memory for itself
/// (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First of all: two providers in one process make rustls panic unless one is installed (DESIGN 5).
    let installed = rustls::crypto::ring::default_provider().install_default();
    let arguments = Arguments::parse();
    let outcome = match installed {
        Ok(()) => start(arguments),
        Err(_) => Err(Failure::new("failed to install the crypto provider: another one is there already")),
    };
    match outcome.and_then(|outcome| print(&outcome).map(|()| outcome.exit)) {
        Ok(exit) => ExitCode::from(exit.status()),
        Err(failure) => {
            eprintln!("mailroster: {}", failure.chain());
            ExitCode::from(Failure::STATUS)
        }
    }
}

fn start(arguments: Arguments) -> Result<Outcome, Failure> {
    arguments.logging.start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::to("start the async runtime", error))?;
    runtime.block_on(cli::run(arguments.command))
}

/// Whoever reads may close the pipe when it has seen enough (`mailroster crds | head`): no failure.
fn print(outcome: &Outcome) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    match output.write_all(outcome.text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::to("write to standard output", error)),
        _ => Ok(()),
    }
}
