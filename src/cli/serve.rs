//! `tidegate serve`: the service on a given database.

use super::{failure::Failure, service, settings::Settings, signals};

/// The service.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[arg(
        long,
        help = "Refuse to start where migrations are pending [env: TIDEGATE_MIGRATE=false]"
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

Every setting, limits and intervals too, is in docs/configuration.md. The first SIGTERM or
Ctrl-C stops in order (every connection is told), a second one at once.";

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let no_migrate = args.no_migrate.then(|| ("migrate", false.to_string()));
    let config = args.settings.load(no_migrate.as_slice())?;
    let stop = signals::stop_token()?;
    let listener = service::listen(service::bind(config.listen)?)?;
    let address = service::local_url(listener.local_addr()?);
    tracing::info!(address, "listening");
    service::serve(config, listener, stop).await
}
