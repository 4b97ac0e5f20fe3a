//! Labels: each has a bounded set of values.

use prometheus_client::encoding::EncodeLabelSet;

macro_rules! label {
    ($label:ident { $($name:ident),+ }) => {
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub(super) struct $label {
            $(pub(super) $name: &'static str,)+
        }
    };
}

label!(Cause { cause });
label!(Reason { reason });
label!(Task { task });
label!(Operation { operation });
label!(Collection { collection });
label!(Of { of });
label!(What { what });
label!(Outcome { outcome });
label!(OfAndReason { of, reason });
label!(Kind { kind });
label!(Right { right });
label!(Status { status });
label!(KindAndOutcome { kind, outcome });

/// Labels of metrics by issuer. Issuers are named in the settings.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct IssuerAndOutcome {
    pub(super) issuer: String,
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct IssuerAndState {
    pub(super) issuer: String,
    pub(super) state: &'static str,
}

/// Labels of `http_requests_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Request {
    pub(super) method: &'static str,
    /// The pattern of the route.
    pub(super) route: String,
    pub(super) status: u16,
}
