# %% [markdown]
# # A first study with designspace
#
# Which networks are good, and why? We compare two design spaces on scikit-learn's handwritten
# digits (8x8 pixels), train networks in a loop of our own, narrow a space, and derive a larger
# network. It takes about two minutes on two cores. Run it as a script, or open it as a notebook.

# %%
from pathlib import Path
from tempfile import mkdtemp

import torch

import designspace as ds

folder = Path(mkdtemp(prefix="tutorial-"))

# %% [markdown]
# ## 1. Spaces
#
# A space says which networks may be chosen. `@8` is the setting for 8-pixel images.

# %%
print([space.name for space in ds.list_spaces()])
anynet = ds.load_space("AnyNetXA@8")
narrow = anynet.narrow(
    name="one-b", reason="Does one bottleneck ratio suffice?", share=["b"], b=[1, 2]
)
print(narrow.name, "narrows", narrow.parent, "to", narrow.dimensions, "dimensions")

# %% [markdown]
# ## 2. Populations
#
# Every model of a population lies in the budget. A population depends on the space, the budget and
# the seed alone.

# %%
populations = {
    "anynetxa": ds.sample(anynet, n=8, flops="180K:220K", seed=0),
    "regnetx": ds.sample("RegNetX@8", n=8, flops="180K:220K", seed=0),
}
table = populations["regnetx"].to_frame()
print(table[["d", "w_0", "w_a", "w_m", "flops", "params"]].describe().round(1))

# %% [markdown]
# A model is a torch module, with torchvision's state keys.

# %%
network = populations["regnetx"][3].build()
print(network(torch.zeros(2, 3, 8, 8)).shape)

# %% [markdown]
# ## 3. Training
#
# A run folder keeps the population, the recipe and every trial. Training resumes after any
# interruption: call it again.

# %%
runs = [population.save(folder / name) for name, population in populations.items()]
ds.train(runs, data="digits", recipe="quick", epochs=4, progress=False)
print(runs[1].to_frame()[["flops", "status", "error", "seconds"]])

# %% [markdown]
# ## 4. A training loop of your own
#
# `ds.load_images` has the images as `train` prepares them: decoded, split, shuffled, augmented and
# normalized. Errors that you measure yourself go into a run as well: `run.record(index, error)`, in
# percent.

# %%
images = ds.load_images("digits", "quick", resolution=8, device="cpu", progress=False)
own = ds.sample("RegNetX@8", n=8, flops="180K:220K", seed=1, out=folder / "own")

torch.manual_seed(0)
for index in range(len(own)):
    model = own[index].build(zero_init_residual=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(4):
        for batch, labels in images.train(epoch, seed=index):
            loss = torch.nn.functional.cross_entropy(model(batch), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.inference_mode():
        wrong = sum(
            (model(batch).argmax(1) != labels).sum().item() for batch, labels in images.val()
        )
    own.record(index, error=100 * wrong / images.val_images)

# %% [markdown]
# ## 5. Analysis
#
# Spaces are compared by their error distributions. The report is one HTML page.

# %%
findings = ds.analyze([*runs, own])
print(findings.to_frame()[["n", "min", "mean", "std"]].round(2))
print("report:", findings.save(folder / "report"))

# %% [markdown]
# ## 6. The loop, and a larger network
#
# `refine` proposes constraints that the study supports; eight models rarely show any.

# %%
refinement = ds.refine(findings, runs[0], name="narrower")
for proposal in refinement.proposals[:3]:
    print(f"{proposal.verdict}: {proposal.claim}")

larger = ds.derive("regnety", source=folder / "report", population="regnetx", flops="400K")
print(larger.name, larger.body.depths, larger.body.widths, f"{larger.flops:,} multiply-adds")
larger.export("torchvision", folder / "export")

# %% [markdown]
# ## 7. The figure

# %%
axes = findings.plot_edf()
axes.figure.savefig(folder / "edf.png")
print("figure:", folder / "edf.png")
