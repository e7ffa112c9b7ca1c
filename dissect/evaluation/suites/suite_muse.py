"""MUSE: forgetting news articles or books (Shi et al. 2025, arXiv:2407.06460)."""

from dissect.evaluation.suites.suite import Part, Suite

SUITE = Suite(
    name="muse",
    about="verbatim and knowledge memorisation, knowledge retained, and privacy leakage",
    parts=(
        Part(set="verbmem", names=("verbmem/forget",), use="VerbMem"),
        Part(set="knowmem_forget", names=("knowmem/forget_qa",), use="KnowMem of what was to be forgotten"),
        Part(set="knowmem_forget_shots", names=("knowmem/forget_qa_icl",), use="solved questions before those"),
        Part(set="knowmem_retain", names=("knowmem/retain_qa", "knowmem/retain2_qa"), use="KnowMem of what was kept"),
        Part(
            set="knowmem_retain_shots",
            names=("knowmem/retain_qa_icl", "knowmem/retain2_qa_icl"),
            use="solved questions before those",
        ),
        Part(set="forget", names=("privleak/forget",), use="PrivLeak"),
        Part(set="nonmembers", names=("privleak/holdout",), use="PrivLeak: texts that no model saw"),
    ),
    measures=("muse_verbmem", "muse_knowmem", "privleak", "mia"),
    models={"retrained": "PrivLeak; or its stored results, --option privleak.stored=FILE"},
)
