//! `tidegate serve`: the service on a given database.

use super::{failure::Failure, node, settings::Settings, signals};

/// A node of the service.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[arg(
        long,
        help = "Refuse to start while migrations are pending [env: TIDEGATE_MIGRATE=false]"
    )]
    no_migrate: bool,
    #[command(flatten)]
    settings: Settings,
}

const EXAMPLES: &str = "\
Examples:
  tidegate serve --mongodb-uri 'mongodb://db1,db2,db3/?replicaSet=rs0' --database tidegate
  tidegate serve --config /etc/tidegate.toml --log-format json
  TIDEGATE_SOCKET__PING_INTERVAL=20s tidegate serve

docs/configuration.md has every setting, limits and intervals included. The first SIGTERM or
Ctrl-C stops in order: every connection is told. A second one stops at once. With [tls], SIGHUP
reads the certificate again; without it, it stops.";

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let no_migrate = args.no_migrate.then(|| ("migrate", false.to_string()));
    let config = args.settings.load(no_migrate.as_slice())?;
    let tls = config.tls.is_on();
    let stop = if tls {
        signals::stop_token_despite_hangup()?
    } else {
        signals::stop_token()?
    };
    let listener = node::listen(node::bind(config.listen)?)?;
    let address = node::local_url(listener.local_addr()?, tls);
    tracing::info!(address, "listening");
    node::serve(config, listener, stop).await
}
