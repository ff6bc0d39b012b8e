"""Clusters of tasks on Ray: `wf.cluster.start`."""

from ..graph.cluster_spec import ClusterSpec as ClusterSpec
from .cluster import Cluster as Cluster, start as start
