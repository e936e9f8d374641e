//! What leads a request back to its worker: a cookie of the balancer, or a part of the
//! request as it is.

use balancer_http1::RequestHead;
use balancer_pool::Affinity;

use crate::field::ProxyField;
use crate::forwarded::ClientIdentity;
use crate::hash_key::HashKeySource;
use crate::sticky::Sticky;

/// Where a request's affinity comes from.
#[derive(Debug, Default)]
pub enum AffinitySource {
    /// Any worker will do.
    #[default]
    None,
    /// A cookie, for [`Strategy::Sticky`](balancer_pool::select::Strategy::Sticky).
    Cookie(Sticky),
    /// A key, for [`Strategy::Hash`](balancer_pool::select::Strategy::Hash).
    Key(HashKeySource),
}

impl AffinitySource {
    #[inline]
    pub(crate) fn affinity_of(
        &self,
        request: &RequestHead<'_, ProxyField>,
        identity: &ClientIdentity,
    ) -> Option<Affinity> {
        match self {
            Self::None => None,
            Self::Cookie(sticky) => sticky.worker_of(&request.fields).map(Affinity::Worker),
            Self::Key(source) => Some(Affinity::Key(source.key_of(request, identity))),
        }
    }

    #[inline]
    pub(crate) fn cookie(&self) -> Option<&Sticky> {
        match self {
            Self::Cookie(sticky) => Some(sticky),
            Self::None | Self::Key(_) => None,
        }
    }
}
