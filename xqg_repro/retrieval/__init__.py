"""From vectors to runs and answers: filter, index, search, fuse and read."""

from typing import TYPE_CHECKING

from xqg_repro.core.lazy import export

if TYPE_CHECKING:
    from xqg_repro.retrieval.bm25 import search_sparse as search_sparse
    from xqg_repro.retrieval.exact import search_embeddings as search_embeddings
    from xqg_repro.retrieval.filter import filter_queries as filter_queries
    from xqg_repro.retrieval.fusion import Fusion as Fusion, fuse as fuse, fuse_runs as fuse_runs
    from xqg_repro.retrieval.index import build_index as build_index
    from xqg_repro.retrieval.late_index import build_late_index as build_late_index
    from xqg_repro.retrieval.late_rerank import rerank_late as rerank_late
    from xqg_repro.retrieval.late_search import search_late as search_late
    from xqg_repro.retrieval.likelihood import rerank_by_likelihood as rerank_by_likelihood
    from xqg_repro.retrieval.read import read as read
    from xqg_repro.retrieval.runfile import Hit as Hit, Run as Run, read_run as read_run, write_run as write_run
    from xqg_repro.retrieval.search import search as search
    from xqg_repro.retrieval.sparse import build_sparse_index as build_sparse_index

export(
    __name__,
    filter=["filter_queries"],
    index=["build_index"],
    search=["search"],
    exact=["search_embeddings"],
    fusion=["Fusion", "fuse", "fuse_runs"],
    likelihood=["rerank_by_likelihood"],
    late_index=["build_late_index"],
    late_search=["search_late"],
    late_rerank=["rerank_late"],
    read=["read"],
    sparse=["build_sparse_index"],
    bm25=["search_sparse"],
    runfile=["Hit", "Run", "read_run", "write_run"],
)
