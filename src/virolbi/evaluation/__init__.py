"""Evaluation of classifiers: clean, corrupted, attacked, certified; comparisons and selection."""

from virolbi.evaluation.comparison import DEMO_ARMS, choose
from virolbi.evaluation.evaluate import BUDGET, certify_views, check_evaluation, evaluate, judge
from virolbi.evaluation.selection import TRIED, Selection, images_for, select
from virolbi.evaluation.subjects import View, find, of_network, of_run

__all__ = ['BUDGET', 'DEMO_ARMS', 'Selection', 'TRIED', 'View', 'certify_views', 'check_evaluation', 'choose', 'evaluate', 'find', 'images_for', 'judge', 'of_network', 'of_run', 'select']
