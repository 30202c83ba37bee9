"""From rows to tables, fits, claims and figures. Imports `rlhf_lab.store.records` and nothing else of the
package.
"""
