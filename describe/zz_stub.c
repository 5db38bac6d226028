#include "rule.h"
#include "svd.h"
__attribute__((weak)) int regmap__rules_check(const struct regmap_layout *l, struct regmap_error *e) { (void)l; (void)e; return 0; }
__attribute__((weak)) int regmap__svd_load(const char *t, size_t n, const char *m, struct layout **o, struct regmap_error *e) { (void)t;(void)n;(void)m;(void)o;(void)e; return -22; }
__attribute__((weak)) const char *regmap_template_name(unsigned i) { (void)i; return 0; }
__attribute__((weak)) const char *regmap_template_text(const char *n) { (void)n; return 0; }
