# SPDX-License-Identifier: MIT
# What an access costs from one of 10 to 1,000,000 sites.
load 'bench/plots/style'
set title 'Number of sites' offset 0,0.2
set xlabel "sites, executed in a scrambled order\n{/*0.8 ".about.'}'
set ylabel 'nanoseconds per access'
set logscale xy
set xrange [8:1300000]
set yrange [1:10000]
set format x '%.0f'
set format y '%.0f'
plot data('sites/load') using 1:6 with lines ls 1 title 'floor of the fault path', \
     '' using 1:3:2:4 with yerrorlines ls 2 title 'trapped load', \
     data('sites/patched') using 1:3:2:4 with yerrorlines ls 6 title 'patched load', \
     data('sites/native') using 1:3:2:4 with yerrorlines ls 5 title 'native load, on memory'
