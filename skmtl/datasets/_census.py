"""UCI Census-Income (KDD): income and marital status of 8,000 people in the US population surveys of 1994 and 1995.

39 features with the names usual for this data set: 7 numbers (age, wage_per_hour, capital_gains, capital_losses,
stock_dividends, weeks_worked, and num_emp, the size of the employer as a code from 0 to 6) and 32 nominal ones (work,
education, family, origin, migration, year of the survey). "?" and "Not in universe" (the question does not apply) are
categories in the source and here.

Targets, both 0 or 1
    income_50k      1: total income above 50,000 dollars (6.2 % of the rows)
    never_married   1: never married (43.3 % of the rows); det_hh_fam_stat reveals most of it

sample_weight is the survey weight: how many people of the population a row represents. It is not a feature.

About one row in eight has the same features as another one, as in the source; most of these are children and retired
people.

Source: Census-Income (KDD) [Dataset] (2000). UCI Machine Learning Repository. https://doi.org/10.24432/C5N30T. Donated
by T. Lane and R. Kohavi; data of the U.S. Census Bureau. Licence: Creative Commons Attribution 4.0 International
(CC BY 4.0), https://creativecommons.org/licenses/by/4.0/.

Changes made for skmtl: 8,000 of the 99,762 rows of census-income.test, drawn at random with the shares of the four
combinations of the two labels unchanged; never_married derived from the marital status, which was removed from the
features, as in J. Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate
Mixture-of-Experts", KDD 2018; columns named; stored as csv.
"""

from __future__ import annotations

import numpy as np

from ._table_file import as_bunch, read_rows

_NUMERIC = ("age", "wage_per_hour", "capital_gains", "capital_losses", "stock_dividends", "num_emp", "weeks_worked")
_TARGETS = ["income_50k", "never_married"]
_N_OTHER = 1 + len(_TARGETS)  # the last columns are not features: the weight, then the targets


def load_census(*, return_X_y=False, as_frame=False):
    """Load two binary tasks on a table of mostly nominal features: 8,000 people in a US census survey.

    The tasks are whether a person earns more than 50,000 dollars (`income_50k`, 6.2 % do) and whether the person has
    never married (`never_married`, 43.3 %). The data set is the usual first benchmark of multi-task learning on
    tables [2]_; this is a sample of it.

    Parameters
    ----------
    return_X_y : bool, default=False
        Return `(data, target)` instead of a Bunch.
    as_frame : bool, default=False
        Return pandas DataFrames instead of arrays; nominal features are of categorical dtype. Needs pandas.

    Returns
    -------
    data : Bunch
        With the attributes `data`, objects (float or str) of shape (8000, 39); `target`, int of shape (8000, 2), 0 or
        1, columns income_50k and never_married; `sample_weight`, float of shape (8000,), the number of people a row
        represents; `frame`, features and targets in one DataFrame, None unless `as_frame=True`; `feature_names`;
        `nominal_features`, the names of the 32 features that hold strings; `target_names`; and `DESCR`, which explains
        the columns and names source and licence.
    (data, target) : tuple
        If `return_X_y=True`.

    Notes
    -----
    Data of UCI Census-Income (KDD) [1]_, licence CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/), donated by
    T. Lane and R. Kohavi, collected by the U.S. Census Bureau. Changed: 8,000 of the 99,762 rows of its test file,
    drawn with the shares of the four combinations of labels unchanged; `never_married` derived from the marital status,
    which is not a feature here; columns named.

    References
    ----------
    .. [1] "Census-Income (KDD)" [Dataset], UCI Machine Learning Repository, 2000, https://doi.org/10.24432/C5N30T.
    .. [2] J. Ma, Z. Zhao, X. Yi, J. Chen, L. Hong and E. H. Chi, "Modeling Task Relationships in Multi-task Learning
       with Multi-gate Mixture-of-Experts", KDD 2018.

    Examples
    --------
    >>> from skmtl.datasets import load_census
    >>> census = load_census(as_frame=True)
    >>> census.data[["age", "education"]].head(2)
       age             education
    0 35.0  High school graduate
    1 82.0     7th and 8th grade
    >>> census.target.mean().round(3).to_dict()
    {'income_50k': 0.062, 'never_married': 0.432}
    """
    header, rows = read_rows("census.csv.gz")
    feature_names = header[:-_N_OTHER]
    table = np.array(rows, dtype=object)
    data = table[:, :-_N_OTHER].copy()
    for name in _NUMERIC:
        column = feature_names.index(name)
        data[:, column] = data[:, column].astype(np.float64)
    nominal = [name for name in feature_names if name not in _NUMERIC]
    census = as_bunch(
        data,
        table[:, -len(_TARGETS) :].astype(np.int64),
        feature_names=feature_names,
        target_names=_TARGETS,
        nominal_features=nominal,
        as_frame=as_frame,
        description=__doc__ or "",
        sample_weight=table[:, -_N_OTHER].astype(np.float64),
    )
    return (census.data, census.target) if return_X_y else census
