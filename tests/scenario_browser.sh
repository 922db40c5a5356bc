#!/bin/sh
# scenario_browser.sh - the page of `atelier report` in a real browser, Chromium without a window: light, dark, on paper, in
# both languages.  Skipped where there is none; CHROMIUM names another one.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario browser
command -v python3 >/dev/null || skip "no python3: screenshots cannot be looked at"
chromium=${CHROMIUM:-}
for name in chromium chromium-browser google-chrome; do
    [ -n "$chromium" ] || chromium=$(command -v "$name")
done
[ -n "$chromium" ] || skip "no Chromium: the page is checked by parsers alone (scenario_report.sh)"

prepare_sample
train 0 1 "$work/run" --set train.steps=4 --set valid.every_steps=1
train 0 1 "$work/run" --set train.steps=20 --set valid.every_steps=2
train 0 1 "$work/other" --set train.steps=12 --set optimizer.learning_rate=2e-3
run 0 "$atelier" report "$work/run"
run 0 python3 tests/scenario/check_browser.py "$chromium" "$work/run/report.html" --controls "Training report" "nats per token" "20 of 20" restart
run 0 "$atelier" report "$work/run" "$work/other" --language fr --output "$work/both.html"
run 0 python3 tests/scenario/check_browser.py "$chromium" "$work/both.html" "Rapport d'entraînement" "nats par jeton" \
    "optimizer.learning_rate"
say "$("$chromium" --version 2>/dev/null): light, dark and on A4, the console is empty, what is smuggled in is refused"
