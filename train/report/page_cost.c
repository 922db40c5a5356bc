/* page_cost.c - hours, energy and CO2 of all starts: the ledger's sums, and the emission factor with its source as the newest
 * checkpoint has it. */
#include <math.h>

#include "train/record/card_escape.h"
#include "train/report/page.h"

static double factor_of(const struct run_facts *run, const char *key) {
    double value;
    return run->provenance && json_get_double(run->provenance, key, &value, NULL) == 0 ? value : NAN;
}

static struct ledger_totals totals_of(const struct run_facts *run) {
    return ledger_totals(&run->ledger);
}

static bool is_kept(const struct run_facts *run) {
    return run->has_ledger && run->ledger.num_entries > 0;
}

static void put_wall(const struct page *page, const struct run_facts *run) {
    page_number(page, is_kept(run) ? totals_of(run).hours : NAN);
}

static void put_gpu_hours(const struct page *page, const struct run_facts *run) {
    page_number(page, is_kept(run) ? totals_of(run).gpu_hours : NAN);
}

static void put_core_hours(const struct page *page, const struct run_facts *run) {
    page_number(page, is_kept(run) ? totals_of(run).core_hours : NAN);
}

static bool has_energy(const struct run_facts *run) {
    return is_kept(run) && totals_of(run).counted > 0;
}

/* put_unknown - hours were kept and no counter could be read: that is known, and another thing than no record. */
static void put_unknown(const struct page *page, const struct run_facts *run) {
    if (is_kept(run))
        fprintf(page->out, "<span class=\"absent\">%s</span>", page_word(page, WORD_ENERGY_UNKNOWN));
    else
        page_number(page, NAN);
}

static void put_energy(const struct page *page, const struct run_facts *run) {
    if (has_energy(run))
        page_number(page, totals_of(run).kwh);
    else
        put_unknown(page, run);
}

/* put_given - a number that somebody chose: as short as it is, "1.2" and not "1.200". */
static void put_given(const struct page *page, double value) {
    if (isfinite(value))
        put_real(page->out, value, marks_of(page->language)->decimal);
    else
        page_number(page, value);
}

static void put_counted(const struct page *page, const struct run_facts *run) {
    put_given(page, is_kept(run) ? 100 * totals_of(run).counted : NAN);
}

/* put_carbon - a PUE that is not known is taken for 1, the least that it can be, as the ledger does. */
static void put_carbon(const struct page *page, const struct run_facts *run) {
    double grams = factor_of(run, "cost/factor/grams_co2_per_kwh"), pue = factor_of(run, "cost/factor/pue");
    if (has_energy(run))
        page_number(page, totals_of(run).kwh * grams * (pue > 0 ? pue : 1) / 1000);
    else
        put_unknown(page, run);
}

static void put_factor(const struct page *page, const struct run_facts *run) {
    put_given(page, factor_of(run, "cost/factor/grams_co2_per_kwh"));
}

static void put_pue(const struct page *page, const struct run_facts *run) {
    put_given(page, factor_of(run, "cost/factor/pue"));
}

/* put_factor_source - "NAME (SOURCE)". */
static void put_factor_source(const struct page *page, const struct run_facts *run) {
    const char *name, *source;
    if (!run->provenance || json_get_string(run->provenance, "cost/factor/name", &name, NULL) != 0 ||
        json_get_string(run->provenance, "cost/factor/source", &source, NULL) != 0) {
        page_text(page, NULL);
        return;
    }
    put_html(page->out, name);
    fputs(" (", page->out);
    put_html(page->out, source);
    fputs(")", page->out);
}

void page_cost(const struct page *page) {
    static const struct {
        enum word name;
        page_cell *put;
    } ROWS[] = {{WORD_WALL_HOURS, put_wall},
                {WORD_GPU_HOURS, put_gpu_hours},
                {WORD_CORE_HOURS, put_core_hours},
                {WORD_ENERGY, put_energy},
                {WORD_COUNTED, put_counted},
                {WORD_CARBON, put_carbon},
                {WORD_FACTOR, put_factor},
                {WORD_FACTOR_SOURCE, put_factor_source},
                {WORD_PUE, put_pue}};
    page_note(page, WORD_COST_NOTE);
    page_table_runs(page, page_word(page, WORD_COST));
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++)
        page_row(page, ROWS[i].name, ROWS[i].put);
    page_table_end(page);
}
