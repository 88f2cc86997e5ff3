"""The options of deployments in a cluster."""

from __future__ import annotations

from dataclasses import dataclass

from warmshell.connector.kubernetes.api import CONNECTIONS
from warmshell.connector.options import Count, Positive, Seconds
from warmshell.connector.wrapper import ACT_SECONDS, InsideOptions


@dataclass(frozen=True, kw_only=True)
class ClusterOptions(InsideOptions):
    """How to get at a cluster.

    Attributes:
        kubeconfig: the file that says where the cluster is; those of KUBECONFIG, or ~/.kube/config by default
        kubeContext: the context of it; the present one by default
        inCluster: whether this process is in a pod, whose own cluster is meant
        namespace: the namespace of what names none; that of the context by default
        kubectl: the program to do everything by, instead of asking the API server from here; needed, and kubectl by
            default, where the deployment wraps another one
        maxConcurrentConnections: connections to the API server at once
        locationsCacheTTL: seconds for which the list of containers is taken to be the same; asked for anew by default
        locationsCacheSize: of no use here, as there is one list only
        resourcesCacheTTL: the former name of locationsCacheTTL
        resourcesCacheSize: the former name of locationsCacheSize
        debug: whether every request to the API server is logged
    """

    kubeconfig: str | None = None
    kubeContext: str | None = None  # noqa: N815 - these are the published names
    inCluster: bool = False  # noqa: N815
    namespace: str | None = None
    kubectl: str | None = None
    maxConcurrentConnections: Positive = CONNECTIONS  # noqa: N815
    locationsCacheTTL: Count | None = None  # noqa: N815
    locationsCacheSize: Count | None = None  # noqa: N815
    resourcesCacheTTL: Count | None = None  # noqa: N815
    resourcesCacheSize: Count | None = None  # noqa: N815
    debug: bool = False

    @property
    def same_for(self) -> float:
        """Seconds for which the list of containers is taken to be the same."""
        return float(self.locationsCacheTTL or self.resourcesCacheTTL or 0)


@dataclass(frozen=True, kw_only=True)
class KubernetesOptions(ClusterOptions):
    """Containers of pods in a Kubernetes cluster.

    Attributes:
        files: the manifests that are applied, and taken away again in reverse order; of an external deployment, what
            is there already
        selector: a label selector for further pods, which are only used
        timeout: seconds that deploying may take
        wait: whether to wait until everything is ready
        scheduleTimeout: seconds for which no node may take a pod before that is an error; more where nodes are added
            on demand
    """

    files: list[str] | None = None
    selector: str | None = None
    timeout: Seconds = ACT_SECONDS
    wait: bool = True
    scheduleTimeout: Seconds = 30.0  # noqa: N815
