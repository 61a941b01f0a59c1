"""UCI Energy Efficiency: heating and cooling load of 768 simulated buildings.

Twelve building shapes of equal volume (771.75 m^3), each in four orientations, without glazing or with three glazing
areas in five distributions: 12 * 4 * (1 + 3 * 5) = 768 rows, simulated with Ecotect. No value is missing.

Features
    relative_compactness        6 V^(2/3) / A, with volume V and surface area A
    surface_area                m^2
    wall_area                   m^2
    roof_area                   m^2; surface_area = wall_area + 2 roof_area
    overall_height              m
    orientation                 2, 3, 4 or 5: a code for each of the four directions
    glazing_area                share of the floor area: 0, 0.1, 0.25 or 0.4
    glazing_area_distribution   0: no glazing; 1: the same on every side; 2 to 5: most of it on one side

Targets
    heating_load, cooling_load  the source states no unit; publications usually assume kWh per m^2

The rows are in the order of the simulation plan: shuffle them before splitting into folds.

Source: A. Tsanas and A. Xifara (2012). Energy Efficiency [Dataset]. UCI Machine Learning Repository.
https://doi.org/10.24432/C51307. Licence: Creative Commons Attribution 4.0 International (CC BY 4.0),
https://creativecommons.org/licenses/by/4.0/.

Changes made for skmtl: columns named, values written with at most two decimals (the precision of the source), stored
as csv.
"""

from __future__ import annotations

import numpy as np

from ._table_file import as_bunch, read_rows

_TARGETS = ["heating_load", "cooling_load"]


def load_energy(*, return_X_y=False, as_frame=False):
    """Load two regression tasks: the heating and the cooling load of 768 simulated buildings.

    The eight features describe the building's shape and glazing. Both loads follow from the same physics, so the tasks
    are closely related (their correlation is 0.98). The rows are in the order of the simulation plan: shuffle them
    before splitting into folds.

    Parameters
    ----------
    return_X_y : bool, default=False
        Return `(data, target)` instead of a Bunch.
    as_frame : bool, default=False
        Return pandas DataFrames instead of arrays. Needs pandas.

    Returns
    -------
    data : Bunch
        With the attributes `data`, float of shape (768, 8); `target`, float of shape (768, 2), columns heating_load
        and cooling_load; `frame`, features and targets in one DataFrame, None unless `as_frame=True`; `feature_names`;
        `nominal_features`, an empty list; `target_names`; and `DESCR`, which explains every column and names source
        and licence.
    (data, target) : tuple
        If `return_X_y=True`.

    Notes
    -----
    Data of UCI Energy Efficiency [1]_, licence CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/), changed in
    form only: columns named, values written with the two decimals of the source. The source states no unit for the
    loads; publications usually assume kWh per square metre.

    References
    ----------
    .. [1] A. Tsanas and A. Xifara, "Energy Efficiency" [Dataset], UCI Machine Learning Repository, 2012,
       https://doi.org/10.24432/C51307.
    .. [2] A. Tsanas and A. Xifara, "Accurate quantitative estimation of energy performance of residential buildings
       using statistical machine learning tools", Energy and Buildings 49, 2012.

    Examples
    --------
    >>> from skmtl.datasets import load_energy
    >>> energy = load_energy()
    >>> energy.data.shape, energy.target.shape
    ((768, 8), (768, 2))
    >>> energy.target_names
    ['heating_load', 'cooling_load']
    """
    header, rows = read_rows("energy.csv")
    values = np.array(rows, dtype=np.float64)
    n_features = len(header) - len(_TARGETS)
    energy = as_bunch(
        values[:, :n_features].copy(),
        values[:, n_features:].copy(),
        feature_names=header[:n_features],
        target_names=_TARGETS,
        as_frame=as_frame,
        description=__doc__ or "",
    )
    return (energy.data, energy.target) if return_X_y else energy
