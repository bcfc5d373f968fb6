"""How a comparison looks: terminal, pull-request comment, annotations, JUnit, one page. Computes no statistic."""
