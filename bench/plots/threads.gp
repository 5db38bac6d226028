# SPDX-License-Identifier: MIT
# What an access costs each of 1 to all threads.
load 'bench/plots/style'
set title 'Number of threads' offset 0,0.2
set xlabel "threads, up to one per core\n{/*0.8 ".about.'}'
set ylabel 'nanoseconds of CPU time per access'
set logscale y
set xrange [0.8:*]
set xtics 1
set yrange [1:10000]
set format y '%.0f'
stats data('threads/apart') using 1 nooutput
set xrange [0.8:STATS_max + 0.2]
set xtics ceil(STATS_max / 16)
plot data('threads/apart') using 1:6 with lines ls 1 title 'floor of the fault path', \
     '' using 1:3:2:4 with yerrorlines ls 2 title 'trapped, a window each', \
     data('threads/shared') using 1:3:2:4 with yerrorlines ls 3 title 'trapped, one window for all', \
     data('threads/patched') using 1:3:2:4 with yerrorlines ls 6 title 'patched, a window each'
