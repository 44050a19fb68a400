"""From a space of networks to a network worth pretraining.

designspace samples populations of networks from a *design space*, trains each briefly, compares the
spaces by their error distributions (EDFs), narrows them, and derives, exports, pretrains and
evaluates a network of any size. It follows *Designing Network Design Spaces* (arXiv 2003.13678).

Spaces and populations
    load_space, list_spaces, Space, sample, Population; blocks of your own: Block, BlockAxis,
    register_block, load_plugin

Runs
    load_run, Run, train, load_recipe, Recipe, status, gather, merge, measure, Measurements; for a
    training loop of your own: load_images, Images

Analysis
    analyze, Findings, refine, rank_agreement, import_results; on plain arrays: edf, bootstrap,
    compare, fit_quantized_linear, plot_edf, plot_best_of_k, save_figure

Studies
    Study, a study file: populations, claims, reports and models, planned and run as a whole;
    convert_sweep, a pycls sweep as a study

Models
    load_model, Model, derive, export_best, export_pareto

Pretraining
    pretrain, plan_pretraining, load_pretrain_recipe, evaluate, cluster, Diverged

Errors
    InputError: an argument, a file or a folder is wrong; the message says how to fix it.

A study in ten lines:

    >>> import designspace as ds
    >>> runs = [
    ...     ds.sample(space, n=4, flops="180K:220K", out=f"results/{space[:-2]}")
    ...     for space in ("AnyNetXA@8", "RegNetX@8")
    ... ]
    >>> ends = ds.train(runs, data="digits", recipe="quick", epochs=1, jobs=1, progress=False)
    >>> findings = ds.analyze(runs)
    >>> findings.save("results/report").name
    'index.html'
    >>> runs[1].model("best").build()(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 10])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from designspace.analysis.quantized_linear_fit import fit_quantized_linear
    from designspace.api.findings import Findings, analyze, rank_agreement, refine
    from designspace.api.gathering import gather
    from designspace.api.images import Images, load_images
    from designspace.api.measuring import Measurements, measure
    from designspace.api.model import Model, derive, load_model
    from designspace.api.population import Population, sample
    from designspace.api.pretraining import (
        Diverged,
        cluster,
        evaluate,
        load_pretrain_recipe,
        plan_pretraining,
        pretrain,
    )
    from designspace.api.run import Run, load_run, merge, status, train
    from designspace.api.spaces import Space, list_spaces, load_space
    from designspace.arch.blocks import Block, BlockAxis, register_block
    from designspace.arch.plugins import load_plugin
    from designspace.errors import InputError
    from designspace.export.export_best import export_best, export_pareto
    from designspace.importing.import_results import import_results
    from designspace.report.plot import plot_best_of_k, plot_edf, save_figure
    from designspace.runs.recipe import Recipe, load_recipe
    from designspace.stats.edf import edf
    from designspace.stats.range_of_best import bootstrap
    from designspace.stats.two_sample import compare
    from designspace.studies.convert_sweep import convert_sweep
    from designspace.studies.study import Study

__version__ = "0.2.0"

__all__ = [
    "Block",
    "BlockAxis",
    "Diverged",
    "Findings",
    "Images",
    "InputError",
    "Measurements",
    "Model",
    "Population",
    "Recipe",
    "Run",
    "Space",
    "Study",
    "analyze",
    "bootstrap",
    "cluster",
    "compare",
    "convert_sweep",
    "derive",
    "edf",
    "evaluate",
    "export_best",
    "export_pareto",
    "fit_quantized_linear",
    "gather",
    "import_results",
    "list_spaces",
    "load_images",
    "load_model",
    "load_plugin",
    "load_pretrain_recipe",
    "load_recipe",
    "load_run",
    "load_space",
    "measure",
    "merge",
    "plan_pretraining",
    "plot_best_of_k",
    "plot_edf",
    "pretrain",
    "rank_agreement",
    "refine",
    "register_block",
    "sample",
    "save_figure",
    "status",
    "train",
]

# The module of each public name. It is imported on first use, so that `import designspace` is fast.
_MODULES = {
    "Block": "arch.blocks",
    "BlockAxis": "arch.blocks",
    "Diverged": "api.pretraining",
    "Findings": "api.findings",
    "Images": "api.images",
    "InputError": "errors",
    "Measurements": "api.measuring",
    "Model": "api.model",
    "Population": "api.population",
    "Recipe": "runs.recipe",
    "Run": "api.run",
    "Space": "api.spaces",
    "Study": "studies.study",
    "analyze": "api.findings",
    "bootstrap": "stats.range_of_best",
    "cluster": "api.pretraining",
    "compare": "stats.two_sample",
    "convert_sweep": "studies.convert_sweep",
    "derive": "api.model",
    "edf": "stats.edf",
    "evaluate": "api.pretraining",
    "export_best": "export.export_best",
    "export_pareto": "export.export_best",
    "fit_quantized_linear": "analysis.quantized_linear_fit",
    "gather": "api.gathering",
    "import_results": "importing.import_results",
    "list_spaces": "api.spaces",
    "load_images": "api.images",
    "load_model": "api.model",
    "load_plugin": "arch.plugins",
    "load_pretrain_recipe": "api.pretraining",
    "load_recipe": "runs.recipe",
    "load_run": "api.run",
    "load_space": "api.spaces",
    "measure": "api.measuring",
    "merge": "api.run",
    "plan_pretraining": "api.pretraining",
    "plot_best_of_k": "report.plot",
    "plot_edf": "report.plot",
    "pretrain": "api.pretraining",
    "rank_agreement": "api.findings",
    "refine": "api.findings",
    "register_block": "arch.blocks",
    "sample": "api.population",
    "save_figure": "report.plot",
    "status": "api.run",
    "train": "api.run",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'designspace' has no attribute {name!r}")
    value = getattr(import_module(f"designspace.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
