/* page_style.h - how the page looks: light, dark, on paper. */
#pragma once

/* page_style - CSS, without characters that XML would take for its own. */
const char *page_style(void);
