# SPDX-License-Identifier: MIT
# What an access costs among 1 to 100,000 windows.
load 'bench/plots/style'
set title 'Number of windows' offset 0,0.2
set xlabel "windows\n{/*0.8 ".about.'}'
set ylabel 'nanoseconds per access'
set logscale xy
set xrange [0.8:130000]
set yrange [1:10000]
set format x '%.0f'
set format y '%.0f'
plot data('windows/one') using 1:6 with lines ls 1 title 'floor of the fault path', \
     '' using 1:3:2:4 with yerrorlines ls 2 title 'trapped load, one window', \
     data('windows/scattered') using 1:3:2:4 with yerrorlines ls 3 title 'trapped load, all in turn', \
     data('windows/patched') using 1:3:2:4 with yerrorlines ls 6 title 'patched load, one window', \
     data('windows/patched-scattered') using 1:3:2:4 with yerrorlines ls 7 title 'patched load, all in turn', \
     data('windows/translate') using 1:3:2:4 with yerrorlines ls 4 title 'regmap\_translate(), one window', \
     data('windows/translate-scattered') using 1:3:2:4 with yerrorlines ls 5 title 'regmap\_translate(), all in turn'
