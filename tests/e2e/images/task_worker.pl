#!/usr/bin/perl
# A worker written from the contract of ephemeral workers alone: started, work, completed; it looks at no answer, and
# ends with 1 if a callback cannot be delivered. It is in Perl for the same reason as mods_worker.pl.
#
#     task_worker.pl [--then exit=CODE|another=ID] --task ID
#
# `--then` is for tests: end without the last callback with this exit code, or complete another task in place of its own.
use strict;
use warnings;
use Getopt::Long qw(:config no_ignore_case);
use HTTP::Tiny;
use JSON::PP;

my ($task, $then) = ('', '');
GetOptions('task=s' => \$task, 'then=s' => \$then) or exit 2;
exit 2 unless length $task;
$| = 1;
for my $needed (qw(CALLBACK_URL PROJECT_ID)) {
    unless (exists $ENV{$needed}) { print "$needed is not set\n"; exit 1 }
}
my $http = HTTP::Tiny->new(timeout => 60);

sub call_back {
    my ($event, $body) = @_;
    my $answer = $http->post("$ENV{CALLBACK_URL}/$event",
        { headers => { 'Content-Type' => 'application/json' }, content => encode_json($body) });
    print "$event: $answer->{status}\n";
    exit 1 if $answer->{status} == 599;    # a transport error, in HTTP::Tiny's words
}

call_back('started', { task_id => $task, project_id => $ENV{PROJECT_ID}, status => 'started' });
exit $1 if $then =~ /^exit=(\d+)$/;
$task = $1 if $then =~ /^another=(.+)$/;
call_back('completed', { task_id => $task, status => 'completed', message => 'Task completed successfully' });
exit 0;
