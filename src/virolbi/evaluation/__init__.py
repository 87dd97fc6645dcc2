"""Evaluation of classifiers: clean, corrupted, attacked, certified; comparisons and selection."""

from virolbi.evaluation.adaptation import (
    FISHER_IMAGES,
    METHODS,
    STREAMS,
    adapt,
    check_adaptation,
)
from virolbi.evaluation.answering import (
    Answers,
    best_answers,
    check_reading,
    classify_file,
    classify_image,
    read_image_for,
)
from virolbi.evaluation.attacking import DEFAULT_BUDGET, Attacks
from virolbi.evaluation.calibration import (
    Calibration,
    Front,
    Level,
    Treatment,
    calibrate,
    is_calibration,
    read_calibration,
    write_calibration,
)
from virolbi.evaluation.certification import Protocol, certification_protocol, certify_views
from virolbi.evaluation.comparison import (
    DEMO_ARMS,
    budget_warnings,
    compare,
    comparison_recipes,
)
from virolbi.evaluation.conditions import Conditions
from virolbi.evaluation.evaluate import evaluate
from virolbi.evaluation.judging import judge
from virolbi.evaluation.loading import load_subject, subject_from_network, subject_from_run
from virolbi.evaluation.selection import (
    TRIED_SPARSITIES,
    Selection,
    SelectionImages,
    select_sparsity,
    selection_images,
)
from virolbi.evaluation.subjects import Subject, View

__all__ = [
    "DEFAULT_BUDGET",
    "DEMO_ARMS",
    "FISHER_IMAGES",
    "METHODS",
    "STREAMS",
    "TRIED_SPARSITIES",
    "Answers",
    "Attacks",
    "Calibration",
    "Conditions",
    "Front",
    "Level",
    "Protocol",
    "Selection",
    "SelectionImages",
    "Subject",
    "Treatment",
    "View",
    "adapt",
    "best_answers",
    "budget_warnings",
    "calibrate",
    "certification_protocol",
    "certify_views",
    "check_adaptation",
    "check_reading",
    "classify_file",
    "classify_image",
    "compare",
    "comparison_recipes",
    "evaluate",
    "is_calibration",
    "judge",
    "load_subject",
    "read_calibration",
    "read_image_for",
    "select_sparsity",
    "selection_images",
    "subject_from_network",
    "subject_from_run",
    "write_calibration",
]
